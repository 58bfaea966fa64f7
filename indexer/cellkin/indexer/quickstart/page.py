"""The page of a quickstart: self-contained, without a script."""

import math
from collections.abc import Iterable, Sequence
from html import escape

from cellkin.indexer.evaluation.page import document
from cellkin.indexer.quickstart.result import NOT_LEFT_OUT, Confusion, Result
from cellkin.wire.species import taxon_name
from cellkin.wire.terms import UNKNOWN_LABEL

_SHOWN_TYPES = 40


def page(result: Result, commands: Sequence[str]) -> str:
    """Return the page.

    Parameters
    ----------
    result
        What was found.
    commands
        How to go on.
    """
    sections = [
        _labels(result), _unknown(result), _genes(result), _reference(result), _compared(result),
        _go_on(commands),
    ]  # fmt: skip
    return document(
        f"{result.query}: labels",
        f"Labels of {result.query}",
        f"{len(result.cells):,} cells labeled by {result.n_reference:,} cells of {result.n_types} "
        f"labels in {result.reference} ({result.index}, compared by expression).",
        [section for section in sections if section],
        result.to_json(),
    )


def _section(heading: str, *parts: str) -> str:
    return (
        f"<section>\n<h2>{escape(heading)}</h2>\n" + "\n".join(filter(None, parts)) + "\n</section>"
    )


def _labels(result: Result) -> str:
    rows = result.label_rows()
    most = max((share for _, _, share, *_ in rows), default=1.0)
    table = _table(
        ("label", "cells", "share", "", "mean probability", "most probable if forced"),
        [
            (
                escape(name), f"{n:,}", f"{share:.1%}", _bar(share / most),
                "&ndash;" if math.isnan(mean) else f"{mean:.2f}", escape(forced),
            )
            for name, n, share, mean, forced in rows
        ],
    )  # fmt: skip
    bins = result.probability_bins()
    top = max([*bins, 1])
    columns = "".join(
        f'<span style="height:{100 * n / top:.1f}%" title="{n:,} cells of probability '
        f'{at / 10:.1f} to {(at + 1) / 10:.1f}"></span>'
        for at, n in enumerate(bins)
    )
    picture = (
        f'<figure><div class="columns">{columns}</div><figcaption>Cells by the probability of '
        "their most probable label, in tenths from 0 on the left to 1 on the right.</figcaption>"
        "</figure>"
    )
    weak = "".join(f'<li class="weak">{escape(said)}</li>' for said in result.warnings)
    return _section("Labels", table, picture, f'<ul class="notes">{weak}</ul>' if weak else "")


def _unknown(result: Result) -> str:
    n = int(result.unknown.sum())
    said = (
        f'<p class="verdict">{n:,} of {len(result.cells):,} cells ({result.unknown_share:.1%}) are '
        f"{UNKNOWN_LABEL}: no label of the reference is claimed for them.</p>"
    )
    rows = [(escape(why), f"{count:,}") for why, count in result.reasons().items()]
    return _section("Unknown cells", said, _table(("why", "cells"), rows) if rows else "")


def _genes(result: Result) -> str:
    told = result.told
    match = dict(told["gene_match"])
    taxon = int(match.pop("taxon", 0))
    rows = [(escape(name.replace("_", " ")), escape(str(n))) for name, n in match.items()]
    rows.append(("species", escape(taxon_name(taxon) if taxon else "not known")))
    said = (
        f"<p>{told['shared_expression']:.0%} of the reference's expression is in genes of the "
        f"query. Values were read as {escape(str(told['units']))}.</p>"
    )
    return _section("Genes", said, _table(("names of the query", ""), rows))


def _reference(result: Result) -> str:
    quality = result.quality
    if quality is None:
        said = (
            '<p class="verdict">No cells could be held out: how good labels are is not known.</p>'
        )
        return _section("How good the reference is", said)
    said = (
        f'<p class="verdict">Of {quality.n_cells:,} cells held out of the reference '
        f"({escape(quality.held_out)}) {quality.accuracy:.1%} got their own label; macro-F1 "
        f"{quality.macro_f1:.3f}, probabilities off by {quality.calibration_error:.3f}.</p>"
    )
    missing = f"<p>{escape(NOT_LEFT_OUT[:1].upper() + NOT_LEFT_OUT[1:])}.</p>"
    return _section("How good the reference is", said, missing)


def _compared(result: Result) -> str:
    confusion = result.confusion()
    if confusion is None:
        return ""
    share = confusion.agreement
    agreed = "No label is claimed." if share is None else f"{share:.1%} of the labels are the same."
    said = (
        f'<p class="verdict">{escape(result.query)} has labels of its own in '
        f"{escape(repr(result.label))}, which had no part in this. {agreed}</p>"
    )
    return _section("Beside the query's own labels", said, _matrix(confusion))


def _matrix(confusion: Confusion) -> str:
    if max(len(confusion.own), len(confusion.claimed)) > _SHOWN_TYPES:
        return "<p>There are too many labels for a table; labels.csv has every cell.</p>"
    rows = []
    for name, counts in zip(confusion.own, confusion.counts, strict=True):
        n = int(counts.sum())
        cells = []
        for claimed, count in zip(confusion.claimed, counts.tolist(), strict=True):
            color = "accent" if claimed == name else "soft" if claimed == UNKNOWN_LABEL else "warn"
            share = round(100 * count / n)
            shade = f"color-mix(in srgb, var(--{color}) {share}%, transparent)"
            cells.append(f'<td class="cell" style="background:{shade}">{count or ""}</td>')
        rows.append(f"<tr><td>{escape(name)} ({n:,})</td>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in confusion.claimed)
    return (
        f'<div class="scroll"><table><thead><tr><th>own label (cells)</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _go_on(commands: Sequence[str]) -> str:
    lines = escape("\n".join(commands))
    return _section("To go on", f"<pre>{lines}</pre>")


def _bar(share: float) -> str:
    return f'<span class="bar"><i style="width:{100 * share:.1f}%"></i></span>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>'
