"""``cellkin genesets``: show the gene sets of a server."""

import json
from typing import TYPE_CHECKING

import click

from cellkin.cli.administer import add_version_commands
from cellkin.cli.records import collection_record
from cellkin.cli.suggestions import SuggestingGroup
from cellkin.terminal.options import json_option, server_option
from cellkin.wire.terms import VersionKind

if TYPE_CHECKING:
    from cellkin.client import GeneSetCollection


@click.group(cls=SuggestingGroup)
def genesets() -> None:
    """Show the gene sets of a server."""


add_version_commands(genesets, VersionKind.GENE_SETS)


@genesets.command("list")
@click.argument("collection", required=False, metavar="[NAME[@VERSION]]")
@click.option("--query", default="", metavar="WORDS", help="Only sets with these words.")
@click.option("--gene", default="", metavar="NAME", help="Only sets with this gene.")
@server_option
@json_option
def list_(collection: str | None, query: str, gene: str, server: str | None, as_json: bool) -> None:
    """List the collections of gene sets, or the sets of one.

    With --store all versions of the collections are listed.
    """
    from cellkin.cli.connection import connect
    from cellkin.terminal.genesets import print_sets

    if collection is None and (query or gene):
        raise click.UsageError("--query and --gene search one collection: name it")
    with connect(server) as client:
        if collection is None:
            _print_collections(list(client.list_gene_set_collections()), as_json)
            return
        found = list(client.list_gene_sets(collection, query=query, gene=gene))
    rows = [
        {"set": each.name, "description": each.description, "n_genes": each.n_genes,
         "n_unmatched": each.n_unmatched}
        for each in found
    ]  # fmt: skip
    print_sets(found[0].collection if found else collection, rows, as_json)


@genesets.command()
@click.argument("name", metavar="NAME[@VERSION][/SET]")
@server_option
@json_option
def show(name: str, server: str | None, as_json: bool) -> None:
    """Show the genes of a gene set, or with --store the manifest of a collection."""
    from cellkin.cli.connection import connect
    from cellkin.terminal.genesets import print_set

    collection, _, wanted = name.partition("/")
    if not wanted:
        raise click.UsageError(
            f"name a set, {collection}/SET; `cellkin genesets list {collection}` lists them"
        )
    with connect(server) as client:
        found = client.get_gene_set(collection, wanted)
    described = {
        "set": found.name,
        "description": found.description,
        "n_genes": len(found),
        "n_unmatched": len(found.unmatched),
    }
    print_set(found.collection.version, described, found.records(), found.unmatched, as_json)


def _print_collections(found: "list[GeneSetCollection]", as_json: bool) -> None:
    from cellkin.terminal.console import print_table

    rows = [collection_record(each) for each in found]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    columns = ("version", "kind", "n_sets", "n_genes", "taxon")
    titles = [name.removeprefix("n_") for name in columns]
    print_table("Collections of gene sets", titles, [[r[name] for name in columns] for r in rows])
