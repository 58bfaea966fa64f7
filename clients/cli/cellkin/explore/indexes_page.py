"""The page "Indexes"."""

from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui

from cellkin.client import CellIndex, Client, SpaceQuality
from cellkin.explore.parts import Notices, alert, heading, note, table
from cellkin.explore.session import Session
from cellkin.terminal.quality import NO_EMBEDDING, weakness
from cellkin.wire.terms import control_caution


class IndexesPage:
    """Versions of the cell indexes, and what changed between two; `view` is what is shown.

    Parameters
    ----------
    session
        The session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._notices = Notices(session)
        self._indexes: dict[str, CellIndex] = {}
        self._list = pn.Column(sizing_mode="stretch_width")
        self._one = pmui.Select(label="Version", options=[], width=320)
        self._other = pmui.Select(label="Compare with", options=["(none)"], width=320)
        self._shown = pn.Column(sizing_mode="stretch_width")
        for choice in (self._one, self._other):
            choice.param.watch(self._show, "value")
        self.view = pn.Column(
            self._notices.view, self._list, pn.Row(self._one, self._other), self._shown,
            sizing_mode="stretch_width",
        )  # fmt: skip

    async def load(self) -> None:
        """List all versions; show the chosen one."""
        with self._notices.telling():
            found = await self._session.ask(_listed, self._session.client)
            self._indexes = {index.name: index for index in found}
            self._list.objects = [heading("Versions", 5), table(_versions(found))]
            names = list(self._indexes)[::-1]
            self._other.options = ["(none)", *names]
            self._one.options = names
            chosen = self._session.index
            if chosen is not None and chosen.name in names:
                self._one.value = chosen.name
            self._show(None)

    def _show(self, _: Any) -> None:
        one, other = (self._indexes.get(choice.value) for choice in (self._one, self._other))
        parts = [] if one is None else described(one)
        if one is not None and other is not None:
            parts = [heading(f"{other.name} and {one.name}", 5), _difference(other, one), *parts]
        self._shown.objects = parts


def described(index: CellIndex) -> list[Any]:
    """Return what is shown of one version."""
    parts: list[Any] = [heading(index.name, 5)]
    if index.retraction is not None:
        instead = f" Use {index.retraction.replacement}." * bool(index.retraction.replacement)
        parts.append(alert("error", f"retracted: {index.retraction.reason}.{instead}"))
    if index.control_embedding:
        parts.append(alert("warning", control_caution(index.versions.embedding)))
    for space, quality in index.qualities.items():
        if weak := weakness(space, quality):
            parts.append(alert("warning", weak))
    facts = pd.DataFrame(_facts(index).items(), columns=["what", "value"])
    labels = pd.DataFrame(index.columns()).rename(columns={"n_cells": "cells"})
    parts.append(
        pn.Row(
            pn.Column(table(facts, rows=40), sizing_mode="stretch_width"),
            pn.Column(heading("Labels"), table(labels), width=360),
            sizing_mode="stretch_width",
        )
    )
    for space, quality in index.qualities.items():
        parts += _quality(space, quality)
    return parts


def _quality(space: str, quality: SpaceQuality) -> list[Any]:
    frame = pd.DataFrame(quality.columns())
    frame.columns = ["label", "cells", "AUROC", "called too far", "weak"]
    parts = [
        heading(f"Labels by {space}, of held-out cells"),
        note(
            f"Held out: {quality.held_out}, {quality.n_cells:,} cells. Accuracy "
            f"{quality.accuracy:.3f}, macro-F1 {quality.macro_f1:.3f}, calibration error "
            f"{quality.calibration_error:.3f}, novelty limit {quality.novelty_limit:.2f}."
        ),
    ]
    if len(frame):
        parts += [
            note(
                "Labels left out of the reference in turn: how well their cells are found unknown."
            ),
            table(frame, digits=["AUROC"], shares=["called too far"], rows=20),
        ]
    return parts


def _facts(index: CellIndex) -> dict[str, str]:
    facts = {
        "made": f"{index.create_time:%Y-%m-%d %H:%M} UTC",
        "aliases": ", ".join(index.aliases) or "none",
        "cells, dimensions": f"{index.n_cells:,}, {index.dim}",
        "labels": f"{len(index.labels)}",
        "batches": ", ".join(index.batches[:20]) or "none",
        "embedding": index.versions.embedding or NO_EMBEDDING,
        "corpus": index.versions.corpus,
        "recipe": index.recipe,
        "in memory": "yes" if index.loaded else "at first use",
    }
    made = index.certificate
    if made is None:
        return facts | {"certificate": "none"}
    facts |= {"neighbor index": made.factory, "why": made.why}
    facts |= {f"recall@{k}": f"{recall:.4f}" for k, recall in made.recalls.items()}
    return facts | {
        "measured with": f"{made.n_queries:,} {made.queries}",
        "queries a CPU-second": f"{made.qps_batch:,.0f} in a batch, {made.qps_single:,.0f} alone",
        "bytes a cell": f"{made.bytes_per_cell:,.0f}",
    }


def _difference(old: CellIndex, new: CellIndex) -> Any:
    rows = [
        (what, before, after)
        for what, before, after in _pairs(_figures(old), _figures(new))
        if before != after
    ]
    if not rows:
        return note("Nothing that is told of them differs.")
    return table(pd.DataFrame(rows, columns=["what", old.name, new.name]), rows=40)


def _figures(index: CellIndex) -> dict[str, str]:
    figures = _facts(index)
    for space, quality in index.qualities.items():
        figures |= {
            f"accuracy by {space}": f"{quality.accuracy:.3f}",
            f"macro-F1 by {space}": f"{quality.macro_f1:.3f}",
            f"calibration error by {space}": f"{quality.calibration_error:.3f}",
            f"cannot be told from what is missing, by {space}": ", ".join(quality.weak_labels),
        }
    counts = zip(index.labels, index.label_counts.tolist(), strict=True)
    return figures | {f"cells of {label}": f"{n:,}" for label, n in counts}


def _pairs(old: dict[str, str], new: dict[str, str]) -> list[tuple[str, str, str]]:
    return [(what, old.get(what, ""), new.get(what, "")) for what in {**new, **old}]


def _versions(found: list[CellIndex]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "version": [index.name for index in found],
            "cells": [index.n_cells for index in found],
            "labels": [len(index.labels) for index in found],
            "embedding": [index.versions.embedding or "none" for index in found],
            "aliases": [", ".join(index.aliases) for index in found],
            "accuracy, held out": [
                ", ".join(
                    f"{each.accuracy:.3f} by {space}" for space, each in index.qualities.items()
                )
                for index in found
            ],
            "retracted": [index.retraction.reason if index.retraction else "" for index in found],
        }
    )


def _listed(client: Client) -> list[CellIndex]:
    return list(client.list_cell_indexes(all_versions=True))
