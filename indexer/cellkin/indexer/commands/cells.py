"""``cellkin cells``: index reference cells."""

import json
from pathlib import Path

import click

from cellkin.indexer.commands.options import store_option
from cellkin.terminal.options import json_option, taxon_option
from cellkin.wire.terms import DEFAULT_MODEL


@click.group()
def cells() -> None:
    """Index reference cells."""


@cells.command()
@click.argument("reference", type=click.Path(path_type=Path))
@store_option
@click.option("--name", required=True, help="Name of the index.")
@click.option("--label", required=True, metavar="COLUMN", help="The obs column of subtypes.")
@click.option("--batch", metavar="COLUMN", help="The obs column of donors or batches.")
@click.option("--embedding", default=DEFAULT_MODEL, show_default=True, metavar="MODEL[@VERSION]")
@taxon_option
@json_option
def index(
    reference: Path,
    uri: str,
    name: str,
    label: str,
    batch: str | None,
    embedding: str,
    taxon: int,
    as_json: bool,
) -> None:
    """Place the labelled cells of REFERENCE, an .h5ad file, and publish them as an index."""
    from cellkin.indexer.cells.job import Reference, index_cells
    from cellkin.space.recipe import TEXT_V1
    from cellkin.store.store import Store
    from cellkin.terminal.console import print_table, progress_bar
    from cellkin.wire.names import embedding_name, parse_version_name

    store = Store.open(uri)
    wanted = parse_version_name(embedding_name(embedding), "gene embedding")
    with progress_bar("reading and placing cells") as progress:
        report = index_cells(
            store, name, Reference(reference, label, batch, taxon), wanted, TEXT_V1, progress
        )
    entry = report.entry
    if as_json:
        click.echo(json.dumps({"index": entry.full_name, "digest": entry.digest, **entry.manifest}))
        return
    print_table(
        f"Genes ({report.units.why})",
        ("names", "n", "share of expression"),
        report.match.lines(report.mass),
    )
    print_table(
        f"Cell index {entry.full_name}: {entry.manifest['n_cells']} cells, "
        f"{entry.manifest['dim']} dimensions, {entry.manifest['recipe']}",
        ("label", "cells"),
        entry.manifest["label_counts"].items(),
    )
    left_out = [
        (report.n_unlabeled, "without a label"),
        (report.n_empty, "without a gene that has text"),
    ]
    for n, why in left_out:
        if n:
            click.echo(f"left out: {n} cells {why}")
    click.echo(f"embedding {entry.manifest['embedding']}, corpus {entry.manifest['corpus']}")
