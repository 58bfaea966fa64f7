"""``cellkin indexes``: look at cell indexes and what is certified of them."""

import json
from typing import TYPE_CHECKING, Any

import click

from cellkin.indexer.commands.options import store_option
from cellkin.terminal.options import json_option

if TYPE_CHECKING:
    from cellkin.store.catalog import Entry
    from cellkin.store.certificate import Certificate
    from cellkin.store.store import Store

_version = click.argument("version", metavar="NAME[@VERSION]")


# Below it an unknown label is missed too often for "not called unknown" to mean anything.
_WEAK_AUROC = 0.85


@click.group()
def indexes() -> None:
    """Look at cell indexes and what is certified of them."""


@indexes.command("list")
@store_option
@json_option
def list_(uri: str, as_json: bool) -> None:
    """List the cell indexes, how much each finds and how fast."""
    from cellkin.store.catalog import Kind
    from cellkin.store.store import Store
    from cellkin.terminal.console import print_table

    entries = Store.open(uri).catalog.entries(Kind.INDEX)
    if as_json:
        fields = [
            {
                "name": entry.full_name,
                "n_cells": entry.manifest["n_cells"],
                "certificate": entry.manifest.get("certificate"),
            }
            for entry in entries
        ]
        click.echo(json.dumps(fields, indent=1))
        return
    rows = []
    for entry in entries:
        stored = _certificate(entry)
        # Speed is never told without what was found at it.
        measured = (
            (
                stored.factory,
                f"{stored.recall[10]:.4f}",
                f"{stored.qps_batch:.0f}",
                f"{stored.bytes_per_cell:.0f}",
            )
            if stored
            else ("Flat", "", "", "")
        )
        rows.append((entry.full_name, entry.manifest["n_cells"], *measured))
    print_table(
        f"Cell indexes in {uri}",
        ("version", "cells", "index", "recall@10", "queries/s", "bytes/cell"),
        rows,
    )


@indexes.command()
@_version
@store_option
@json_option
def show(version: str, uri: str, as_json: bool) -> None:
    """Show what is certified of a cell index."""
    from cellkin.terminal.console import print_table

    entry = _resolve(uri, version)[1]
    stored = _require_certificate(entry)
    quality = entry.manifest.get("quality", {})
    if as_json:
        said = {"name": entry.full_name, **stored.to_json(), "quality": quality}
        click.echo(json.dumps(said))
        return
    print_table(f"Cell index {entry.full_name}", ("what", "value"), _lines(stored))
    for space, found in quality.items():
        if found:
            _show_quality(space, found)


@indexes.command()
@_version
@store_option
@json_option
def verify(version: str, uri: str, as_json: bool) -> None:
    """Measure the recall of a cell index again; exit code 2 where its certificate is wrong."""
    from cellkin.indexer.neighbors.certify import TOLERANCE
    from cellkin.indexer.neighbors.certify import verify as measure_again
    from cellkin.store.cell_index import EXPRESSION, read_cell_index
    from cellkin.store.cell_table import check_rows, read_expression_vectors, read_vectors
    from cellkin.store.certificate import Certificate
    from cellkin.terminal.console import print_table

    store, entry = _resolve(uri, version)
    stored = _require_certificate(entry)
    check_rows(store, entry)
    index = read_cell_index(store.index_folder(entry))
    digest = entry.manifest.get("rows_digest", "")
    found = measure_again(index.neighbors, read_vectors(store, entry), stored, digest)
    if index.expression is not None:
        other = Certificate.from_json(entry.manifest["certificates"][EXPRESSION])
        vectors = read_expression_vectors(store, entry)
        measure_again(index.expression.neighbors, vectors, other, digest)
    if as_json:
        recall = {str(k): value for k, value in found.items()}
        click.echo(json.dumps({"name": entry.full_name, "recall": recall, "verified": True}))
        return
    print_table(
        f"Cell index {entry.full_name}: as certified, within {TOLERANCE:g}",
        ("neighbors", "recall certified", "recall now"),
        [(k, f"{stored.recall[k]:.4f}", f"{now:.4f}") for k, now in found.items()],
    )


def _resolve(uri: str, version: str) -> "tuple[Store, Entry]":
    from cellkin.store.catalog import Kind
    from cellkin.store.store import Store
    from cellkin.wire.names import parse_version_name

    opened = Store.open(uri)
    return opened, opened.catalog.version(Kind.INDEX, parse_version_name(version, "cell index"))


def _certificate(entry: "Entry") -> "Certificate | None":
    from cellkin.store.certificate import Certificate

    stored = entry.manifest.get("certificate")
    return Certificate.from_json(stored) if stored else None


def _require_certificate(entry: "Entry") -> "Certificate":
    from cellkin.wire.errors import FailedPreconditionError

    stored = _certificate(entry)
    if stored is None:
        raise FailedPreconditionError(
            f"cell index {entry.full_name} has no certificate: it was published before there were "
            "any; index its cells again"
        )
    return stored


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
