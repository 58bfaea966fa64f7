"""``cellkin embeddings``: manage the versions of gene embeddings."""

import click

from cellkin.indexer.commands.difference import add_diff
from cellkin.indexer.commands.options import store_option
from cellkin.indexer.commands.versions import (
    add_verify,
    add_version_commands,
    print_version,
    print_versions,
    resolve,
    version_argument,
)
from cellkin.terminal.options import json_option

_KIND = "embedding"


@click.group()
def embeddings() -> None:
    """Manage gene embeddings: the vectors of genes."""


@embeddings.command("list")
@store_option
@json_option
def list_(uri: str, as_json: bool) -> None:
    """List all versions with their aliases and retractions."""
    from cellkin.store.catalog import Kind
    from cellkin.store.controls import is_control
    from cellkin.store.store import Store

    columns = {
        "genes": lambda entry: entry.manifest["n_genes"],
        "dim": lambda entry: entry.manifest["dim"],
        "corpus": lambda entry: entry.manifest.get("corpus", ""),
    }
    print_versions(uri, _KIND, columns, as_json)
    entries = Store.open(uri).catalog.entries(Kind.EMBEDDING)
    controls = [entry.full_name for entry in entries if is_control(entry.manifest)]
    if controls and not as_json:
        click.echo(f"controls, whose vectors say nothing about genes: {', '.join(controls)}")


@embeddings.command()
@version_argument
@store_option
@json_option
def show(version: str, uri: str, as_json: bool) -> None:
    """Show the manifest of a version: its sources, settings and digest."""
    from cellkin.store.controls import is_control

    print_version(uri, _KIND, version, as_json)
    _, entry = resolve(uri, _KIND, version)
    if is_control(entry.manifest) and not as_json:
        click.echo(
            "a control: these vectors say nothing about genes, and labels by text that are made of "
            "them mean nothing"
        )


add_diff(embeddings, _KIND)
add_verify(embeddings, _KIND)
add_version_commands(embeddings, _KIND)
