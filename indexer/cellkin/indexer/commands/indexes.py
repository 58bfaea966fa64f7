"""``cellkin indexes``: manage cell indexes and their certificates."""

import json
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import click

from cellkin.indexer.commands.options import store_option
from cellkin.indexer.commands.versions import (
    add_verify,
    add_version_commands,
    described,
    print_versions,
    resolve,
    version_argument,
)
from cellkin.terminal.options import json_option
from cellkin.terminal.quality import NO_EMBEDDING

if TYPE_CHECKING:
    from cellkin.store.catalog import Entry
    from cellkin.store.certificate import Certificate
    from cellkin.store.quality import SpaceQuality
    from cellkin.store.store import Store

_KIND = "index"


@click.group()
def indexes() -> None:
    """Manage cell indexes and their certificates."""


@indexes.command("list")
@store_option
@json_option
def list_(uri: str, as_json: bool) -> None:
    """List all versions with their recall and speed."""

    def certified(read: "Callable[[Certificate], object]") -> "Callable[[Entry], object]":
        return lambda entry: read(stored) if (stored := _certificate(entry)) else ""

    # Speed is only meaningful together with recall.
    columns = {
        "cells": lambda entry: entry.manifest["n_cells"],
        "index": certified(lambda stored: stored.factory),
        "recall@10": certified(lambda stored: f"{stored.recall[10]:.4f}"),
        "queries/s": certified(lambda stored: f"{stored.qps_batch:.0f}"),
        "bytes/cell": certified(lambda stored: f"{stored.bytes_per_cell:.0f}"),
    }
    print_versions(uri, _KIND, columns, as_json)


@indexes.command()
@version_argument
@store_option
@json_option
def show(version: str, uri: str, as_json: bool) -> None:
    """Show the certificate and label quality of an index."""
    from cellkin.indexer.cells.report import cautions_of
    from cellkin.store.quality import read_qualities
    from cellkin.terminal.console import print_table

    store, entry = resolve(uri, _KIND, version)
    view = store.catalog.view()
    qualities = read_qualities(entry.manifest)
    warnings = cautions_of(view, entry)
    if as_json:
        weak = {space: list(quality.weak_labels) for space, quality in qualities.items()}
        said = described(view, entry) | {"weak_labels": weak, "warnings": warnings}
        click.echo(json.dumps(said, indent=1))
        return
    why, stored = view.retraction(entry), _certificate(entry)
    rows = [
        ("made", entry.created_at),
        ("embedding", entry.manifest.get("embedding") or NO_EMBEDDING),
        ("corpus", entry.manifest.get("corpus", "")),
        ("aliases", ", ".join(view.aliases_of(entry)) or "none"),
        *([("retracted", why.reason)] if why else []),
        *(_lines(stored) if stored else [("certificate", "none: older than certificates are")]),
    ]
    print_table(f"Cell index {entry.full_name}", ("what", "value"), rows)
    for space, quality in qualities.items():
        _show_quality(space, quality)
    for warning in warnings:
        click.echo(f"WARNING: {warning}")


def recall_now(store: "Store", entry: "Entry") -> dict[str, Any]:
    """Measure the recall of a cell index again, in each of its spaces."""
    from cellkin.indexer.neighbors.certify import verify as measure_again
    from cellkin.store.cell_index import read_cell_index
    from cellkin.store.cell_vectors import read_vectors
    from cellkin.store.certificate import Certificate
    from cellkin.store.schema import INDEX_FORMAT

    stored = _certificate(entry)
    if stored is None:
        return {}
    if entry.manifest["format"] != INDEX_FORMAT:
        return {"recall@10 now": f"not measured: format {entry.manifest['format']}"}
    index = read_cell_index(store.index_folder(entry))
    digest = entry.manifest.get("rows_digest", "")
    found = []
    with ExitStack() as opened:
        for part in index.parts.values():
            opened.enter_context(closing(part.neighbors))
        for space, part in index.parts.items():
            # Versions with one space may only have the single certificate.
            made = entry.manifest.get("certificates", {}).get(space)
            certificate = Certificate.from_json(made) if made else stored
            vectors = read_vectors(store, entry, space)
            found.append(measure_again(part.neighbors, vectors, certificate, digest))
    now = found[0][10]
    return {"recall@10 certified": f"{stored.recall[10]:.4f}", "recall@10 now": f"{now:.4f}"}


add_verify(indexes, _KIND, recall_now)
add_version_commands(indexes, _KIND)


def _certificate(entry: "Entry") -> "Certificate | None":
    from cellkin.store.certificate import Certificate

    stored = entry.manifest.get("certificate")
    return Certificate.from_json(stored) if stored else None


def _show_quality(space: str, quality: "SpaceQuality") -> None:
    """Print the label quality measured on held-out cells, and warnings about unknown cells."""
    from cellkin.terminal.quality import novelty_caution, print_quality, weakness

    by_evidence = quality.macro_f1_by_evidence.items()
    print_quality(space, quality, [(f"macro-F1, {kind}", f"{f1:.3f}") for kind, f1 in by_evidence])
    for line in (weakness(space, quality), novelty_caution(space, quality.novelty_note)):
        if line:
            click.echo(line)


def _lines(stored: "Certificate") -> list[tuple[str, str]]:
    settings = ", ".join(f"{name} {value}" for name, value in stored.parameters.items())
    reached = "reached" if stored.reached else "NOT reached"
    return [
        ("cells, dimensions", f"{stored.n_cells}, {stored.dim}"),
        ("index", stored.factory),
        ("why", stored.why),
        ("settings", settings or "none"),
        *((f"recall@{k}", f"{recall:.4f}") for k, recall in stored.recall.items()),
        # Milvus chooses the settings itself, so no recall is asked of it.
        ("recall@10 wanted", f"{stored.target:g}, {reached}" if stored.target else "none"),
        ("measured with", f"{stored.n_queries} {stored.queries}"),
        ("queries a CPU-second, batch", f"{stored.qps_batch:.0f}"),
        ("queries a CPU-second, single", f"{stored.qps_single:.0f}"),
        ("bytes a cell", f"{stored.bytes_per_cell:.0f}"),
        ("built in", f"{stored.build_s:.1f} s, {stored.n_threads} threads"),
        ("on", stored.cpu),
        ("by", ", ".join(f"{name} {number}" for name, number in stored.versions.items())),
        ("digest of the vectors", stored.vectors_digest[:16] or "not given"),
    ]
