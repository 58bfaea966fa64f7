"""``cellkin genes resolve``: resolve gene names to genes."""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from cellkin.indexer.commands.options import corpus_option, store_option
from cellkin.terminal.options import json_option, taxon_option
from cellkin.wire.species import taxon_name
from cellkin.wire.terms import GeneRoute, TextRung

if TYPE_CHECKING:
    from cellkin.space.genes import Resolution
    from cellkin.store.corpus import GeneNames
    from cellkin.wire.match import GeneMatch


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@taxon_option
@corpus_option
@store_option
@json_option
def resolve(names: tuple[str, ...], taxon: int, corpus: str, uri: str, as_json: bool) -> None:
    """Show the gene that each NAME resolves to, and by which route.

    With - names are read from standard input, one per line. All names are resolved in one species,
    as for the columns of a matrix.
    """
    from cellkin.space.matching import match_texts
    from cellkin.store.catalog import Kind
    from cellkin.store.corpus import read_gene_names
    from cellkin.store.store import Store
    from cellkin.terminal.console import print_table
    from cellkin.wire.names import parse_version_name

    store = Store.open(uri)
    entry = store.catalog.resolve(Kind.CORPUS, parse_version_name(corpus, "corpus"))
    genes = read_gene_names(store, entry)
    given = [line.rstrip("\n") for line in sys.stdin] if names == ("-",) else list(names)
    resolution = genes.resolver.resolve(given, taxon)
    match = match_texts(resolution, genes.gene_ids, genes.rungs)
    found = _found(given, genes, resolution, match)
    if as_json:
        species = {"taxon": match.taxon, "taxon_inferred": match.taxon_inferred}
        click.echo(json.dumps({"corpus": entry.full_name, **species, "genes": found}))
        return
    inferred = " (inferred from the names)" if match.taxon_inferred else ""
    read_as = f"{taxon_name(match.taxon)}{inferred}" if match.taxon else "no species"
    print_table(
        f"Names read as {read_as}, corpus {entry.full_name}",
        ("name", "symbol", "GeneID", "met by", "text"),
        [
            (g["name"], g["symbol"], g["gene_id"] or _meant(g["may_be"]), g["route"], g["text"])
            for g in found
        ],
    )
    repeated = "" if match.n_genes == match.n_used else f" ({match.n_genes} distinct genes)"
    click.echo(
        f"{match.n_matched} of {match.n_given} mean one gene, {match.n_used} have a text{repeated}"
    )


def _found(
    given: list[str], genes: "GeneNames", resolution: "Resolution", match: "GeneMatch"
) -> list[dict[str, Any]]:
    symbols = genes.table["symbol"]
    return [
        {
            "name": name,
            "gene_id": int(match.gene_ids[at]),
            "symbol": symbols[int(row)].as_py() if row >= 0 else "",
            "route": GeneRoute(int(match.routes[at])).label,
            "text": TextRung(rung).label if (rung := int(match.rungs[at])) else "",
            "may_be": list(resolution.ambiguous.get(name, ())),
        }
        for at, (name, row) in enumerate(zip(given, resolution.rows, strict=True))
    ]


def _meant(gene_ids: list[int]) -> str:
    return f"any of {', '.join(map(str, gene_ids))}" if gene_ids else ""
