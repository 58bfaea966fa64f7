"""``cellkin embeddings``: manage the versions of gene embeddings."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellkin.indexer.commands.difference import add_diff
from cellkin.indexer.commands.options import corpus_option, store_option
from cellkin.indexer.commands.versions import (
    add_verify,
    add_version_commands,
    print_version,
    print_versions,
    resolve,
    version_argument,
)
from cellkin.terminal.options import json_option

if TYPE_CHECKING:
    from cellkin.store.catalog import Entry

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
    if not as_json:
        _warn_of_partial(entries)


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
    if not as_json:
        _warn_of_partial([entry])


def _warn_of_partial(entries: "Iterable[Entry]") -> None:
    from cellkin.store.partial import partial_caution

    for entry in entries:
        if said := partial_caution(entry.full_name, entry.manifest):
            click.echo(f"WARNING: {said}")


@embeddings.command()
@version_argument
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@store_option
@json_option
def export(version: str, file: Path, uri: str, as_json: bool) -> None:
    """Write a version made by a language model to FILE, for `install` elsewhere.

    FILE has a vector in half precision for each text, what it was made from, and a digest.
    """
    from cellkin.indexer.embeddings.exported import export_embedding
    from cellkin.store.digest import file_digest
    from cellkin.store.store import Store
    from cellkin.wire.names import parse_version_name

    wanted = parse_version_name(version, "gene embedding")
    entry = export_embedding(Store.open(uri), wanted, file)
    sha256, n_bytes = file_digest(file), file.stat().st_size
    if as_json:
        said = {"embedding": entry.full_name, "file": str(file), "bytes": n_bytes}
        click.echo(json.dumps(said | {"file_sha256": sha256}))
        return
    click.echo(f"{entry.full_name} is in {file}: {n_bytes / 1e6:,.1f} MB, SHA-256 {sha256}")


@embeddings.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@store_option
@corpus_option
@json_option
def install(file: Path, uri: str, corpus: str, as_json: bool) -> None:
    """Publish the vectors of FILE, which `export` wrote, for the genes of a corpus.

    A gene gets a vector if its text in the corpus is one of FILE's. `cellkin genes embed` embeds
    the others, and reuses these if model, runtime and precision are the same.
    """
    from cellkin.indexer.embeddings.exported import install_embedding
    from cellkin.store.store import Store
    from cellkin.wire.names import parse_version_name

    report = install_embedding(Store.open(uri), file, parse_version_name(corpus, "corpus"))
    entry = report.entry
    if as_json:
        said = {"embedding": entry.full_name, "digest": entry.digest, **entry.manifest}
        click.echo(json.dumps(said | {"same_as_exported": report.same}))
        return
    n_genes = entry.manifest["n_genes"]
    origin = entry.manifest["installed"]["embedding"]
    click.echo(
        f"embedding {entry.full_name}: {n_genes:,} genes, by {report.n_texts:,} texts of "
        f"{origin}{', the same version' if report.same else ''}"
    )
    if report.n_left_out:
        click.echo(
            f"no vector: {report.n_left_out:,} genes, whose texts are not in {file.name}; "
            "`cellkin genes embed` embeds them too"
        )
    click.echo(f"digest {entry.digest}")


add_diff(embeddings, _KIND)
add_verify(embeddings, _KIND)
add_version_commands(embeddings, _KIND)
