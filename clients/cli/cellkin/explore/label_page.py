"""The page "Label a file"."""

import asyncio
from pathlib import Path
from threading import Event
from typing import Any

import pandas as pd
import panel as pn
import panel_material_ui as pmui

from cellkin.client.annotate import write_annotation, write_labels
from cellkin.explore import charts
from cellkin.explore.evidence import query_view
from cellkin.explore.labeled import Labeled, explain, label_file
from cellkin.explore.map_page import LabeledMap
from cellkin.explore.parts import Notices, alert, downloads, heading, note, table
from cellkin.explore.session import Session
from cellkin.explore.uploads import Upload
from cellkin.matrices.copies import COPIES
from cellkin.wire.errors import CancelledError
from cellkin.wire.species import SPECIES

_LOOK_S = 0.2
_NONE = "(none)"
_MOST_ROWS = 100
_NAMED = (".h5ad", ".h5", ".h5mu", ".loom", ".csv", ".tsv", ".gz", ".zip")


class LabelPage:
    """Label a file and look at the labels; `view` is what is shown.

    Parameters
    ----------
    session
        The session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._path: Path | None = None
        self._given_up = Event()
        self._notices = Notices(session)
        shared = session.shared
        self._upload = Upload(session.folder, shared.max_upload_mb, self._take, self._refuse)
        named = shared.files.names(_NAMED) if shared.files else []
        self._file = pmui.AutocompleteInput(
            label="File on the server's machine", options=named, restrict=True,
            min_characters=0, case_sensitive=False, search_strategy="includes",
            visible=shared.files is not None, sizing_mode="stretch_width",
        )  # fmt: skip
        self._file.param.watch(self._choose, "value")
        species = {"from the gene names": 0} | {each.name: each.taxon for each in SPECIES}
        self._species = pmui.Select(label="Species", options=species, value=0, width=240)
        self._go = pmui.Button(label="Label cells", disabled=True, on_click=self._label)
        self._stop = pmui.Button(
            label="Cancel", variant="outlined", visible=False, on_click=self._cancel
        )
        self._bar = pmui.LinearProgress(
            value=0, variant="determinate", visible=False, sizing_mode="stretch_width"
        )
        self._said = pmui.Typography("", variant="body2", visible=False)
        self._results = pn.Column(sizing_mode="stretch_width")
        self.view = pn.Column(
            note(
                f"Drop an .h5ad, or a 10x .h5, .loom, .csv or .tsv of genes and cells, of at most "
                f"{shared.max_upload_mb:,} MB. It is kept until this tab is closed; larger files "
                "are labeled by cellkin annotate on your own machine."
            ),
            self._upload,
            self._file,
            pn.Row(self._species, self._go, self._stop),
            self._bar,
            self._said,
            self._notices.view,
            self._results,
            sizing_mode="stretch_width",
        )

    async def load(self) -> None:
        """Show nothing else for another index: what was labeled stays."""

    def _take(self, path: Path | None) -> None:
        self._path = path
        self._go.disabled = path is None

    def _refuse(self, said: str) -> None:
        self._take(None)
        self._notices.show("error", [said])

    def _choose(self, event: Any) -> None:
        files = self._session.shared.files
        with self._notices.telling():
            self._take(files.find(event.new) if files and event.new else None)

    def _cancel(self, _: Any) -> None:
        self._given_up.set()

    async def _label(self, _: Any) -> None:
        session, path = self._session, self._path
        if path is None or session.index is None:
            return
        self._results.objects = []
        session.labeled = None
        self._given_up.clear()
        self._stop.visible = self._bar.visible = self._said.visible = True
        try:
            with self._notices.telling(self._go, self._upload, self._species):
                session.labeled = await self._labeled(path)
        finally:
            self._stop.visible = self._bar.visible = self._said.visible = False
        if session.labeled is not None:
            self._results.objects = await Results(session, session.labeled).parts()

    async def _labeled(self, path: Path) -> Labeled:
        session, done = self._session, [0, 0]
        index = session.index.name

        def progress(n_done: int, total: int) -> None:
            session.require_open()
            if self._given_up.is_set():
                raise CancelledError("canceled by the user")
            done[:] = n_done, total

        self._bar.value, self._said.object = 0, f"{path.name} by {index}: waiting for its turn"
        has_layout = await session.has_layout(index)
        labeling = asyncio.ensure_future(
            session.work(
                label_file, session.client, path, index, self._species.value, has_layout, progress
            )
        )
        while not labeling.done():
            await asyncio.wait([labeling], timeout=_LOOK_S)
            if done[1]:
                self._bar.value = int(100 * done[0] / done[1])
                self._said.object = f"{done[0]:,} of {done[1]:,} cells of {path.name} by {index}"
        return await labeling


class Results:
    """What is shown of a labeled file.

    Parameters
    ----------
    session
        The session.
    labeled
        The labeled file.
    """

    def __init__(self, session: Session, labeled: Labeled) -> None:
        self._session, self._labeled = session, labeled
        self._notices = Notices(session)
        self._evidence = pn.Column(
            note("Click a cell of the map, or choose one here, to see why it has its label."),
            sizing_mode="stretch_width",
        )
        ids = labeled.annotation.cell_ids
        self._cell = pmui.AutocompleteInput(
            label="Cell", options=list(dict.fromkeys(ids)), restrict=True, lazy_search=True,
            search_strategy="includes", case_sensitive=False, sizing_mode="stretch_width",
        )  # fmt: skip
        self._cell.param.watch(self._chosen, "value")
        self._columns = [_NONE, *labeled.columns]

    async def parts(self) -> list[Any]:
        """Return the parts of the page."""
        labeled, found = self._labeled, self._labeled.annotation
        csv = await self._session.work(_written, labeled, self._session.folder)
        self._map = LabeledMap(self._session, labeled, self._pick)
        report = found.report
        check = report.sample_check
        belongs = check.sentence(report.versions.index) if check is not None else ""
        return [
            *(alert("warning", said) for said in found.weaknesses()),
            *([alert("success", belongs)] if belongs else []),
            self._notices.view,
            heading(_summary(labeled), 5),
            note(_how(labeled)),
            self._downloads(csv),
            pn.Row(
                pn.Column(self._map.view, self._tables(), sizing_mode="stretch_width"),
                pn.Column(self._cell, self._evidence, width=430),
                sizing_mode="stretch_width",
            ),
        ]  # fmt: skip

    def _tables(self) -> Any:
        # Not tabs within tabs: charts that are added there later have no width.
        return pn.Accordion(
            ("Labels", self._labels()),
            ("Unknown", self._unknown()),
            ("Genes", self._genes()),
            ("Compare with a column", self._confusion()),
            ("Clusters", self._clusters()),
            ("Cells", self._cells()),
            active=[0],
            sizing_mode="stretch_width",
        )

    async def _chosen(self, event: Any) -> None:
        if event.new:
            row = self._labeled.annotation.cell_ids.index(event.new)
            self._map.mark(row)
            await self._pick(row)

    async def _pick(self, row: int) -> None:
        with self._notices.telling():
            self._evidence.loading = True
            try:
                found = await self._session.ask(explain, self._session.client, self._labeled, row)
                self._evidence.objects = [query_view(found)]
            finally:
                self._evidence.loading = False

    def _downloads(self, csv: Path) -> Any:
        source = self._labeled.path
        links = pn.Column(downloads(self._session, [csv]))
        if source.suffix not in COPIES:
            return links
        button = pmui.Button(
            label=f"Prepare a copy with labels ({source.suffix})", variant="outlined"
        )

        async def prepare(_: Any) -> None:
            target = self._session.folder / f"{source.stem}.labeled{source.suffix}"
            with self._notices.telling(button):
                await self._session.work(
                    write_annotation, self._labeled.annotation, source, target, overwrite=True
                )
                links.objects = [downloads(self._session, [csv, target])]

        button.on_click(prepare)
        return pn.Row(links, button, sizing_mode="stretch_width")

    def _labels(self) -> Any:
        frame = pd.DataFrame(self._labeled.annotation.label_columns())
        frame["forced"] = [
            f"{label} ({n:,})" if label else ""
            for label, n in zip(frame["forced"], frame.pop("n_forced"), strict=True)
        ]
        frame.columns = ["label", "cells", "share", "mean probability", "most probable if forced"]
        return table(frame, digits=["mean probability"], shares=["share"])

    def _unknown(self) -> Any:
        reasons = self._labeled.reasons()
        if reasons.empty:
            return note("No cell is unknown.")
        return table(reasons)

    def _genes(self) -> Any:
        found = self._labeled.annotation
        rows = found.report.match.lines(found.mass)
        frame = pd.DataFrame(rows, columns=["names", "n", "share of expression"])
        return pn.Column(
            note(f"Values: {found.units.why}"), *map(note, found.notes), table(frame, rows=30),
            sizing_mode="stretch_width",
        )  # fmt: skip

    def _confusion(self) -> Any:
        shown = pn.Column(sizing_mode="stretch_width")
        column = pmui.Select(label="Column of obs", options=self._columns, value=_NONE, width=320)

        async def choose(event: Any) -> None:
            with self._notices.telling(column):
                shown.objects = []
                if event.new != _NONE:
                    counts = await self._session.ask(self._labeled.confusion, event.new)
                    shown.objects = _compared(counts)

        column.param.watch(choose, "value")
        return pn.Column(column, shown, sizing_mode="stretch_width")

    def _clusters(self) -> Any:
        shown = pn.Column(sizing_mode="stretch_width")
        column = pmui.Select(
            label="Column of obs with clusters", options=self._columns, value=_NONE, width=320
        )

        async def choose(event: Any) -> None:
            with self._notices.telling(column):
                shown.objects = []
                if event.new != _NONE:
                    clustered = await self._session.ask(self._labeled.clustered, event.new)
                    shown.objects = [_cluster_table(clustered)]

        column.param.watch(choose, "value")
        return pn.Column(column, shown, sizing_mode="stretch_width")

    def _cells(self) -> Any:
        frame = pd.DataFrame(self._labeled.annotation.columns())
        names = ["cell_id", "label", "probability", "runner_up", "novelty", "reason"]
        return table(frame[names], digits=["probability", "novelty"], rows=20)


def _written(labeled: Labeled, folder: Path) -> Path:
    target = folder / f"{labeled.path.name.partition('.')[0]}.labels.csv"
    write_labels(labeled.annotation, target, overwrite=True)
    return target


def _summary(labeled: Labeled) -> str:
    found = labeled.annotation
    n_cells, n_unknown = len(found.cell_ids), int(found.unknown.sum())
    share = n_unknown / max(1, n_cells)
    n_labels = len([label for label in found.counts() if label != "unknown"])
    return f"{n_cells:,} cells: {n_labels} labels, {n_unknown:,} unknown ({share:.1%})"


def _how(labeled: Labeled) -> str:
    report = labeled.annotation.report
    error = report.calibration_error
    sure = f"; probabilities were off by {error:.3f} on held-out cells of the reference" * (
        error > 0
    )
    return (
        f"By {report.versions.index}, in the {report.space} space; "
        f"{report.shared_expression:.0%} of the reference's expression is in shared genes{sure}."
    )


def _compared(counts: pd.DataFrame) -> list[Any]:
    if len(counts) > _MOST_ROWS:
        said = f"{counts.index.name} has {len(counts):,} values; at most {_MOST_ROWS} are compared"
        return [alert("info", said)]
    same = [name for name in counts.index if name in counts.columns]
    known = counts.drop(columns="unknown", errors="ignore")
    right = sum(int(known.loc[name, name]) for name in same if name in known)
    n_named = int(known.loc[same].to_numpy().sum())
    parts = [charts.heat(counts)]
    if n_named:
        said = (
            f"{right / n_named:.1%} of the {n_named:,} labeled cells whose value is also a label "
            "of the reference have that label."
        )
        parts.insert(0, note(said))
    return [*parts, table(counts.reset_index(), rows=30)]


def _cluster_table(labeled: Labeled) -> Any:
    clusters = labeled.annotation.clusters
    assert clusters is not None
    frame = pd.DataFrame(clusters.columns())
    return table(frame, digits=["confidence", "winner_share"], rows=30)
