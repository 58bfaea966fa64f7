"""``cellkin enrich``: gene sets that genes are enriched in."""

import json
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import click

from cellkin.terminal.options import json_option, server_option, taxon_option
from cellkin.wire.errors import AlreadyExistsError, InputFileError, InvalidArgumentError

if TYPE_CHECKING:
    from cellkin.client.results.enrichment import EnrichedSets

_SET = 38
_LEADING = 3


@click.command()
@click.argument("genes", nargs=-1, metavar="[GENE]...")
@click.option(
    "--sets",
    "collections",
    required=True,
    multiple=True,
    metavar="NAME[@VERSION]",
    help="A collection of gene sets to test; may be repeated.",
)
@click.option(
    "--file",
    "listed",
    type=click.File(),
    metavar="FILE",
    help="Instead of GENE: one gene a line; or a gene, a tab or comma, and a value, which is a "
    "ranking of all measured genes. - is standard input.",
)
@click.option(
    "--near", type=int, metavar="K", help="Test the K genes whose texts are nearest to the GENEs."
)
@click.option(
    "--universe",
    type=click.File(),
    metavar="FILE",
    help="The genes that could have been listed, one a line.  [default: those of any set]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.csv",
    help="Write all sets here.",
)
@click.option("--force", is_flag=True, help="Overwrite what -o names.")
@taxon_option
@server_option
@json_option
def enrich(
    genes: tuple[str, ...],
    collections: tuple[str, ...],
    listed: Any,
    near: int | None,
    universe: Any,
    output: Path | None,
    force: bool,
    taxon: int,
    server: str | None,
    as_json: bool,
) -> None:
    """Test which gene sets genes, a ranking or a neighborhood are enriched in.

    A set is called if its false discovery rate is at most 0.05; with --near also if vectors are
    permuted over genes.
    """
    from cellkin.cli.connection import connect

    if output is not None and output.exists() and not force:
        raise AlreadyExistsError(f"{output} is there already; give another name, or add --force")
    asked = _asked(genes, listed, near, taxon)
    background = [] if universe is None else [name for name, _ in _lines(universe)]
    with connect(server) as client:
        found = client.enrich_genes(collections, universe=background, taxon=taxon, **asked)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        found.write_csv(output)
    if as_json:
        told = {
            "collections": list(found.collections),
            "n_tested": list(found.n_tested),
            "n_genes": found.n_genes,
            "n_universe": found.n_universe,
            "unmatched": list(found.unmatched),
            "warnings": [asdict(warning) for warning in found.warnings],
            "versions": asdict(found.versions),
            "sets": found.records(),
        }
        click.echo(json.dumps(told, indent=1))
        return
    print_sets(found.title, found)
    if found.unmatched:
        click.echo(f"names without a gene: {', '.join(found.unmatched)}")
    for warning in found.warnings:
        click.secho(f"WARNING: {warning}", fg="yellow")
    if output is not None:
        click.echo(f"written: {output}")


def print_sets(title: str, found: "EnrichedSets", n_shown: int = 20) -> None:
    """Print the most significant sets of each collection.

    Parameters
    ----------
    title
        What was tested.
    found
        The sets.
    n_shown
        Sets of each collection.
    """
    from cellkin.client.results.tables import shown
    from cellkin.terminal.console import print_table

    # Only a neighborhood or a contrast has a second null, only a list or a ranking masked genes.
    columns = {
        "n_genes": "genes", "effect": "effect", "fdr": "FDR", "permuted_fdr": "permuted FDR",
        "masked_p_value": "masked p", "called": "called",
    }  # fmt: skip
    rows = found.records()
    given = [name for name in columns if any(row[name] is not None for row in rows)]
    for collection in dict.fromkeys(each.collection for each in found.sets):
        of_one = [row for row in rows if row["collection"] == collection][:n_shown]
        said = [
            (shorten(row["set"], _SET, placeholder="…"), *(shown(row[name]) for name in given),
             ", ".join(row["leading_genes"].split(", ")[:_LEADING]))
            for row in of_one
        ]  # fmt: skip
        heads = ("set", *(columns[name] for name in given), "leading genes")
        print_table(f"{title}, {collection}", heads, said)
    if not found.sets:
        click.echo(title)


def _asked(genes: tuple[str, ...], listed: Any, near: int | None, taxon: int) -> dict[str, Any]:
    """Return the arguments of `Client.enrich_genes` that say what is tested."""
    if bool(genes) == (listed is not None):
        raise InvalidArgumentError("give GENEs, or --file FILE: one of them")
    if near is not None and listed is not None:
        raise InvalidArgumentError("--near is of GENEs; leave out --file")
    if near is not None:
        name: Any = genes[0] if len(genes) == 1 else list(genes)
        return {"neighborhood": {"name": name, "k": near, "taxon": taxon}}
    if genes:
        return {"genes": list(genes)}
    lines = _lines(listed)
    valued = [value for _, value in lines if value is not None]
    if not valued:
        return {"genes": [name for name, _ in lines]}
    if len(valued) < len(lines):
        bare = next(name for name, value in lines if value is None)
        raise InputFileError(
            f"{listed.name}: {bare!r} has no value though other genes have one; give all of them "
            "a value, or none"
        )
    return {"ranking": dict(lines)}


def _lines(file: Any) -> list[tuple[str, float | None]]:
    """Return the genes of a file, each with its value if there is one; a head is left out."""
    found: list[tuple[str, float | None]] = []
    for number, line in enumerate(file):
        name, _, value = (part.strip() for part in line.replace("\t", ",", 1).partition(","))
        if not name or name.startswith("#"):
            continue
        try:
            found.append((name, float(value) if value else None))
        except ValueError:
            if number:  # the first line may name the columns
                raise InputFileError(
                    f"{file.name}, line {number + 1}: {value!r} is no number"
                ) from None
    if not found:
        raise InputFileError(f"{file.name} has no gene; give one a line")
    return found
