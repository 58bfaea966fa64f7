"""Options shared by several commands."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.species import SPECIES, taxon_id

if TYPE_CHECKING:
    _IntType = click.ParamType[int]
else:  # before Click 8.5 it takes no type arguments
    _IntType = click.ParamType


class TaxonType(_IntType):
    """A species by its NCBI taxonomy id or a name; the value is the id."""

    name = "species"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the taxonomy id; fail if the value is not a known species."""
        try:
            return taxon_id(value)
        except InvalidArgumentError as error:
            self.fail(error.message, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the common names that start with the incomplete word."""
        names = [species.name.lower() for species in SPECIES]
        return [CompletionItem(name) for name in names if name.startswith(incomplete.lower())]


TAXON = TaxonType()

server_option = click.option(
    "--server",
    metavar="HOST:PORT",
    help="The cellkin server.  [default: CELLKIN_ADDRESS, a profile, or 127.0.0.1:50051]",
)
taxon_option = click.option(
    "--taxon",
    type=TAXON,
    default=0,
    metavar="SPECIES",
    help="The species, such as mouse, Mus musculus or its NCBI taxonomy id 10090.  "
    "[default: inferred from the gene names]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for reading a file of cells: the fields of `ReadOptions`."""
    for option in (
        click.option("--layer", metavar="NAME", help="Read this layer instead of X."),
        click.option("--raw", is_flag=True, help="Read .raw instead of X, with its genes."),
        click.option(
            "--modality",
            metavar="NAME",
            help="Read this modality of a file of several.  [default: the one of gene expression]",
        ),
        click.option(
            "--gene-column",
            metavar="COLUMN",
            help="The var column of gene names.  [default: the names of var]",
        ),
        click.option(
            "--units",
            type=click.Choice(["counts", "cp10k", "log1p", "log2"]),
            help="What the values are.  [default: inferred]",
        ),
    ):
        command = option(command)
    return command
