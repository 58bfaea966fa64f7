"""``cellkin indexes``: look at cell indexes and what is certified of them."""

import json
from collections.abc import Callable
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

if TYPE_CHECKING:
    from cellkin.store.catalog import Entry
    from cellkin.store.certificate import Certificate
    from cellkin.store.store import Store

_KIND = "index"
# Below it an unknown label is missed too often for "not called unknown" to mean anything.
_WEAK_AUROC = 0.85


@click.group()
def indexes() -> None:
    """Look after cell indexes and their certificates."""


@indexes.command("list")
@store_option
@json_option
def list_(uri: str, as_json: bool) -> None:
    """List all versions: how much each finds, how fast."""

    def certified(read: "Callable[[Certificate], object]") -> "Callable[[Entry], object]":
        return lambda entry: read(stored) if (stored := _certificate(entry)) else ""

    # Speed is never told without what was found at it.
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
    """Show what is certified of an index."""
    from cellkin.terminal.console import print_table

    store, entry = resolve(uri, _KIND, version)
    view = store.catalog.view()
    if as_json:
        click.echo(json.dumps(described(view, entry), indent=1))
        return
    why, stored = view.retraction(entry), _certificate(entry)
    rows = [
        ("made", entry.created_at),
        ("embedding", entry.manifest.get("embedding", "")),
        ("corpus", entry.manifest.get("corpus", "")),
        ("aliases", ", ".join(view.aliases_of(entry)) or "none"),
        *([("retracted", why.reason)] if why else []),
        *(_lines(stored) if stored else [("certificate", "none: older than certificates are")]),
    ]
    print_table(f"Cell index {entry.full_name}", ("what", "value"), rows)
    for space, found in entry.manifest.get("quality", {}).items():
        if found:
            _show_quality(space, found)


def _recall_now(store: "Store", entry: "Entry") -> dict[str, Any]:
    """Measure the recall of a cell index again, in every space it has."""
    from cellkin.indexer.neighbors.certify import verify as measure_again
    from cellkin.store.cell_index import EXPRESSION, read_cell_index
    from cellkin.store.cell_table import read_expression_vectors, read_vectors
    from cellkin.store.certificate import Certificate

    stored = _certificate(entry)
    if stored is None:
        return {}
    index = read_cell_index(store.index_folder(entry))
    digest = entry.manifest.get("rows_digest", "")
    found = measure_again(index.neighbors, read_vectors(store, entry), stored, digest)
    if index.expression is not None:
        other = Certificate.from_json(entry.manifest["certificates"][EXPRESSION])
        vectors = read_expression_vectors(store, entry)
        measure_again(index.expression.neighbors, vectors, other, digest)
    return {"recall@10 certified": f"{stored.recall[10]:.4f}", "recall@10 now": f"{found[10]:.4f}"}


add_verify(indexes, _KIND, _recall_now)
add_version_commands(indexes, _KIND)


def _certificate(entry: "Entry") -> "Certificate | None":
    from cellkin.store.certificate import Certificate

    stored = entry.manifest.get("certificate")
    return Certificate.from_json(stored) if stored else None


def _show_quality(space: str, found: dict[str, Any]) -> None:
    """Say how well labels were found on cells that were held out, and what was called unknown."""
    from cellkin.terminal.console import print_table

    f1 = found["macro_f1"]
    lines = [
        ("held out", f"{found['held_out']}, {found['n_held_out']} cells"),
        ("accuracy", f"{found['accuracy']:.3f}"),
        *((f"macro-F1, {kind}", f"{value:.3f}") for kind, value in f1.items()),
        ("calibration error", f"{found['ece']:.3f}"),
        ("novelty limit", f"{found['novelty_limit']:.2f}"),
    ]
    print_table(f"Labels by {space}", ("what", "value"), lines)
    left_out = found["left_out"]
    if not left_out:
        return
    print_table(
        f"Labels left out of the reference, by {space}",
        ("label", "cells", "AUROC", "called too far"),
        [(x["label"], x["n_cells"], f"{x['auroc']:.2f}", f"{x['found']:.0%}") for x in left_out],
    )
    weak = [x["label"] for x in left_out if x["auroc"] < _WEAK_AUROC]
    if weak:
        click.echo(
            f"too weak to trust: if the reference lacked {', '.join(weak)}, many of their cells "
            f"would be given another label (AUROC below {_WEAK_AUROC:g})"
        )


def _lines(stored: "Certificate") -> list[tuple[str, str]]:
    settings = ", ".join(f"{name} {value}" for name, value in stored.parameters.items())
    reached = "reached" if stored.reached else "NOT reached"
    return [
        ("cells, dimensions", f"{stored.n_cells}, {stored.dim}"),
        ("index", stored.factory),
        ("why", stored.why),
        ("settings", settings or "none"),
        *((f"recall@{k}", f"{recall:.4f}") for k, recall in stored.recall.items()),
        ("recall@10 wanted", f"{stored.target:g}, {reached}"),
        ("measured with", f"{stored.n_queries} {stored.queries}"),
        ("queries a CPU-second, batch", f"{stored.qps_batch:.0f}"),
        ("queries a CPU-second, single", f"{stored.qps_single:.0f}"),
        ("bytes a cell", f"{stored.bytes_per_cell:.0f}"),
        ("built in", f"{stored.build_s:.1f} s, {stored.n_threads} threads"),
        ("on", stored.cpu),
        ("by", ", ".join(f"{name} {number}" for name, number in stored.versions.items())),
        ("digest of the vectors", stored.vectors_digest[:16] or "not given"),
    ]
