"""``cellkin corpora``: manage the versions of gene texts."""

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

_KIND = "corpus"


@click.group()
def corpora() -> None:
    """Manage corpora: the texts of genes."""


@corpora.command("list")
@store_option
@json_option
def list_(uri: str, as_json: bool) -> None:
    """List all versions with their aliases and retractions."""
    columns = {
        "genes": lambda entry: entry.manifest.get("n_genes", ""),
        "made": lambda entry: entry.created_at,
    }
    print_versions(uri, _KIND, columns, as_json)


@corpora.command()
@version_argument
@store_option
@json_option
def show(version: str, uri: str, as_json: bool) -> None:
    """Show the manifest of a version: its sources, settings and digest."""
    print_version(uri, _KIND, version, as_json)


add_diff(corpora, _KIND)
add_verify(corpora, _KIND)
add_version_commands(corpora, _KIND)
