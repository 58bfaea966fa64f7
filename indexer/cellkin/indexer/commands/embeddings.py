"""``cellkin embeddings``: the versions of the vectors of gene texts by language models."""

import click

from cellkin.indexer.commands.difference import add_diff
from cellkin.indexer.commands.options import store_option
from cellkin.indexer.commands.versions import (
    add_verify,
    add_version_commands,
    print_version,
    print_versions,
    version_argument,
)
from cellkin.terminal.options import json_option

_KIND = "embedding"


@click.group()
def embeddings() -> None:
    """Look after gene embeddings: the vectors of genes."""


@embeddings.command("list")
@store_option
@json_option
def list_(uri: str, as_json: bool) -> None:
    """List all versions, aliases and retractions."""
    columns = {
        "genes": lambda entry: entry.manifest["n_genes"],
        "dim": lambda entry: entry.manifest["dim"],
        "corpus": lambda entry: entry.manifest.get("corpus", ""),
    }
    print_versions(uri, _KIND, columns, as_json)


@embeddings.command()
@version_argument
@store_option
@json_option
def show(version: str, uri: str, as_json: bool) -> None:
    """Show what a version was made from and by."""
    print_version(uri, _KIND, version, as_json)


add_diff(embeddings, _KIND)
add_verify(embeddings, _KIND)
add_version_commands(embeddings, _KIND)
