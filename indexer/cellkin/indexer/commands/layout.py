"""``cellkin cells layout``: lay an index out in two dimensions."""

import json

import click

from cellkin.indexer.commands.options import store_option
from cellkin.terminal.options import json_option


@click.command()
@click.argument("index", metavar="INDEX[@VERSION]")
@store_option
@json_option
def layout(index: str, uri: str, as_json: bool) -> None:
    """Publish a version of INDEX with its cells laid out in two dimensions, by UMAP.

    Query cells are placed among them, each by its own nearest cells: see `cellkin explore` and
    cellkin.client.tl.place. Labels stay the same.
    """
    from cellkin.indexer.cells.layout import add_layout
    from cellkin.store.catalog import Kind
    from cellkin.store.certificate import LayoutCertificate
    from cellkin.store.store import Store
    from cellkin.terminal.console import progress_bar
    from cellkin.wire.names import parse_version_name

    store, name = Store.open(uri), parse_version_name(index, "cell index")
    base = store.catalog.resolve(Kind.INDEX, name)
    entry = add_layout(store, base, progress_bar)
    made = LayoutCertificate.from_json(entry.manifest["layout"])
    if as_json:
        found = {"index": entry.full_name, "n_cells": entry.manifest["n_cells"], **made.to_json()}
        click.echo(json.dumps(found))
        return
    click.echo(
        f"{entry.full_name}: {entry.manifest['n_cells']:,} cells laid out by {made.library}, "
        f"fitted to {made.n_fitted:,} of them in the {made.space} space"
    )
    click.echo(
        f"trustworthiness at {made.trust_k} neighbors {made.trustworthiness:.3f}; of cells placed "
        f"as those of a query {made.placed_trustworthiness:.3f}; by chance "
        f"{made.permuted_trustworthiness:.3f}"
    )
    for alias in store.catalog.view().aliases_of(base):
        click.echo(
            f"alias {alias} still means {base.full_name}; move it by `cellkin indexes alias "
            f"{entry.full_name} {alias} --store {uri}`"
        )
