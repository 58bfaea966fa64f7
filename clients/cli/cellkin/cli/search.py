"""``cellkin search``: ask a server for neighbors."""

import json
from dataclasses import asdict

import click

from cellkin.terminal.options import json_option, server_option, taxon_option
from cellkin.wire.terms import taxon_name


@click.group()
def search() -> None:
    """Ask a server for neighbors."""


@search.command()
@click.argument("gene")
@taxon_option
@click.option("-k", type=int, default=10, show_default=True, help="Neighbors, 1 to 1000.")
@click.option(
    "--embedding", default="", metavar="MODEL[@VERSION]", help="The gene embedding to ask."
)
@click.option("--target-taxon", type=int, default=0, metavar="ID", help="Search another species.")
@server_option
@json_option
def genes(
    gene: str, taxon: int, k: int, embedding: str, target_taxon: int, server: str, as_json: bool
) -> None:
    """Find the genes whose texts are nearest to that of GENE, a symbol or an identifier."""
    from cellkin.cli.connection import connect

    with connect(server) as client:
        found = client.search_genes(
            gene, taxon=taxon, k=k, embedding=embedding, target_taxon=target_taxon
        )
    if as_json:
        answer = {
            "gene": asdict(found.gene),
            "neighbors": [(asdict(hit), similarity) for hit, similarity in found.neighbors],
            "versions": asdict(found.versions),
        }
        click.echo(json.dumps(answer, indent=1))
        return
    from cellkin.terminal.console import print_table

    print_table(
        f"Genes nearest to {found.gene.symbol} ({taxon_name(found.gene.taxon)}, GeneID "
        f"{found.gene.gene_id}) in {found.versions.embedding}",
        ("symbol", "GeneID", "cosine", "name", "text"),
        [
            (hit.symbol, hit.gene_id, f"{similarity:.3f}", hit.name, hit.rung.label)
            for hit, similarity in found.neighbors
        ],
    )
