"""``cellkin genesets``: import gene sets, and manage their versions."""

import json
from typing import TYPE_CHECKING, Any

import click

from cellkin.indexer.commands.options import corpus_option, store_option
from cellkin.indexer.commands.versions import (
    add_verify,
    add_version_commands,
    print_version,
    print_versions,
    resolve,
)
from cellkin.terminal.options import TAXON, json_option, taxon_option
from cellkin.wire.terms import GeneSetKind

if TYPE_CHECKING:
    from cellkin.store.catalog import Entry
    from cellkin.store.gene_sets import GeneSets
    from cellkin.store.store import Store

_KIND = "gene-sets"
_SET_KINDS = [kind.label for kind in GeneSetKind]
_NAMESPACES = {
    "bp": "biological_process", "mf": "molecular_function", "cc": "cellular_component",
}  # fmt: skip


@click.group()
def genesets() -> None:
    """Import gene sets, and manage their versions."""


@genesets.command("import")
@click.argument("location", metavar="FILE")
@click.option("--name", required=True, help="Name of the collection, such as go-bp.")
@click.option(
    "--kind",
    "set_kind",
    type=click.Choice(_SET_KINDS),
    default=_SET_KINDS[0],
    show_default=True,
    help="What the sets are.",
)
@click.option("--annotations", default="", metavar="FILE.gaf", help="The genes of an ontology.")
@click.option(
    "--namespace",
    type=click.Choice(list(_NAMESPACES)),
    help="Only terms of this namespace of the Gene Ontology.  [default: all]",
)
@click.option("--set-column", default="", metavar="COLUMN", help="Column of a table: the set.")
@click.option("--gene-column", default="", metavar="COLUMN", help="Column of a table: the gene.")
@click.option(
    "--weight-column", default="", metavar="COLUMN", help="Column of a table: weight or sign."
)
@click.option(
    "--where",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Only rows of a table with this value; repeat it.",
)
@taxon_option
@click.option(
    "--to-taxon",
    type=TAXON,
    default=0,
    metavar="SPECIES",
    help="Carry the sets to this species by one-to-one orthologs.",
)
@click.option(
    "--gene-orthologs", default="", metavar="FILE", help="NCBI gene_orthologs, for --to-taxon."
)
@corpus_option
@store_option
@json_option
def import_(
    location: str,
    name: str,
    set_kind: str,
    annotations: str,
    namespace: str | None,
    set_column: str,
    gene_column: str,
    weight_column: str,
    where: tuple[str, ...],
    taxon: int,
    to_taxon: int,
    gene_orthologs: str,
    corpus: str,
    uri: str,
    as_json: bool,
) -> None:
    """Read gene sets from FILE and publish them as a version of a collection.

    FILE is a path or a URL, plain or gzip, and its ending tells the format: .gmt; .tsv, .txt or
    .csv for a table with a row per set and gene, such as regulons with source, target and weight;
    .obo for an ontology with --annotations. Gene names are matched to the genes of the corpus.
    """
    from cellkin.indexer.genesets.job import SetSource, import_sets
    from cellkin.indexer.genesets.tables import Columns
    from cellkin.store.store import Store
    from cellkin.wire.names import parse_version_name

    columns = Columns(set_column, gene_column, weight_column, _conditions(where))
    source = SetSource(location, annotations, _NAMESPACES.get(namespace or "", ""), columns)
    entry, report = import_sets(
        Store.open(uri),
        name,
        source,
        parse_version_name(corpus, "corpus"),
        set_kind=GeneSetKind[set_kind.upper()],
        taxon=taxon,
        to_taxon=to_taxon,
        gene_orthologs=gene_orthologs,
    )
    if as_json:
        said = {"collection": entry.full_name, "digest": entry.digest, **entry.manifest}
        click.echo(json.dumps(said))
        return
    click.echo(f"collection {entry.full_name}: {_counts(entry)}")
    for line in report.notes():
        click.echo(line)


@genesets.command("list")
@click.argument("collection", required=False, metavar="[NAME[@VERSION]]")
@click.option("--query", default="", metavar="WORDS", help="Only sets with these words.")
@click.option("--gene", default="", metavar="NAME", help="Only sets with this gene.")
@store_option
@json_option
def list_(collection: str | None, query: str, gene: str, uri: str, as_json: bool) -> None:
    """List all versions of all collections, or the sets of one."""
    from cellkin.terminal.genesets import print_sets

    if collection is None:
        if query or gene:
            raise click.UsageError("--query and --gene search one collection: name it")
        columns = {
            "kind": lambda entry: entry.manifest["set_kind"],
            "sets": lambda entry: entry.manifest["n_sets"],
            "genes": lambda entry: entry.manifest["n_genes"],
            "taxon": lambda entry: entry.manifest["taxon"],
        }
        print_versions(uri, _KIND, columns, as_json)
        return
    store, entry = resolve(uri, _KIND, collection)
    sets = store.gene_sets(entry)
    rows = sets.containing(query, _gene_id(store, entry, gene) if gene else None)
    print_sets(entry.full_name, [_described(sets, row) for row in rows], as_json)


@genesets.command()
@click.argument("name", metavar="NAME[@VERSION][/SET]")
@store_option
@json_option
def show(name: str, uri: str, as_json: bool) -> None:
    """Show the manifest of a collection, or the genes of one of its sets."""
    from cellkin.store.corpus import corpus_of, read_gene_names
    from cellkin.terminal.genesets import print_set

    collection, _, wanted = name.partition("/")
    if not wanted:
        print_version(uri, _KIND, collection, as_json)
        return
    store, entry = resolve(uri, _KIND, collection)
    sets = store.gene_sets(entry)
    row = sets.row(wanted, entry.full_name)
    genes = read_gene_names(store, corpus_of(store, entry))
    at = genes.gene_ids.searchsorted(sets.members(row))
    members = [
        {"gene_id": int(genes.gene_ids[i]), "symbol": symbol, "name": full, "weight": weight}
        for i, symbol, full, weight in zip(
            at.tolist(),
            genes.table["symbol"].take(at).to_pylist(),
            genes.table["name"].take(at).to_pylist(),
            sets.member_weights(row).tolist(),
            strict=True,
        )
    ]
    unmatched = list(sets.unmatched[row])
    print_set(entry.full_name, _described(sets, row), members, unmatched, as_json)


@genesets.command()
@click.argument("first", metavar="NAME@VERSION")
@click.argument("second", metavar="NAME@VERSION")
@store_option
@json_option
def diff(first: str, second: str, uri: str, as_json: bool) -> None:
    """Compare two versions.

    Lists sets added and removed, and sets with other genes or weights.
    """
    from cellkin.store.gene_sets import compare_sets
    from cellkin.terminal.console import print_table

    store, before = resolve(uri, _KIND, first)
    _, after = resolve(uri, _KIND, second)
    found = compare_sets(store.gene_sets(before), store.gene_sets(after))
    if as_json:
        click.echo(json.dumps(vars(found)))
        return
    parts = {
        "sets added": found.added, "sets removed": found.removed, "sets changed": found.changed,
    }  # fmt: skip
    rows = [(what, len(names), ", ".join(names[:5])) for what, names in parts.items()]
    title = f"From {before.full_name} to {after.full_name}, {found.n_common:,} sets in both"
    print_table(title, ("what", "n", "such as"), rows)


add_verify(genesets, _KIND)
add_version_commands(genesets, _KIND)


def _conditions(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in given:
        column, equals, value = text.partition("=")
        if not column or not equals:
            raise click.BadParameter(f"{text!r}: give COLUMN=VALUE", param_hint="--where")
        found[column] = value
    return found


def _counts(entry: "Entry") -> str:
    from cellkin.wire.species import taxon_name

    made = entry.manifest
    carried = made["carried_from_taxon"]
    by = f", carried from {taxon_name(carried)} by orthologs" if carried else ""
    return f"{made['n_sets']:,} sets of {made['n_genes']:,} {taxon_name(made['taxon'])} genes{by}"


def _described(sets: "GeneSets", row: int) -> dict[str, Any]:
    return {
        "set": sets.names[row],
        "description": sets.descriptions[row],
        "n_genes": int(sets.sizes[row]),
        "n_unmatched": len(sets.unmatched[row]),
    }


def _gene_id(store: "Store", entry: "Entry", name: str) -> int:
    from cellkin.store.corpus import corpus_of, find_gene, read_gene_names

    genes = read_gene_names(store, corpus_of(store, entry))
    return int(genes.gene_ids[find_gene(genes, name, entry.manifest["taxon"])])
