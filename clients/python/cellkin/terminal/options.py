"""Options several commands have."""

from collections.abc import Callable
from typing import Any

import click

server_option = click.option(
    "--server",
    metavar="HOST:PORT",
    help="The cellkin server.  [default: CELLKIN_ADDRESS, a profile, or 127.0.0.1:50051]",
)
taxon_option = click.option(
    "--taxon", type=int, default=0, metavar="ID", help="NCBI taxonomy id: 9606 human, 10090 mouse."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says how a file of cells is read: the fields of `ReadOptions`."""
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
