"""The page "Map", and the map of a labeled file."""

from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import panel as pn
import panel_material_ui as pmui

from cellkin.client.results.layouts import Layout
from cellkin.explore.coloring import Coloring, by_names, by_values
from cellkin.explore.evidence import of_reference, reference_view
from cellkin.explore.labeled import Labeled
from cellkin.explore.legend import Legend
from cellkin.explore.map_view import Layer, MapView
from cellkin.explore.parts import Notices, alert, choices, heading, note
from cellkin.explore.session import Session
from cellkin.wire.errors import FailedPreconditionError, UnimplementedError

_FAINT = "#e3e6ea"


class MapPage:
    """The reference in two dimensions; `view` is what is shown.

    Parameters
    ----------
    session
        The session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._layout: Layout | None = None
        self._notices = Notices(session)
        self._map = MapView(session, "Map of the reference", 1)
        self._legend = Legend(self._filtered)
        self._by = choices("Color by", ["label", "batch", "agreement"])
        self._by.param.watch(self._recolored, "value")
        self._cell = pmui.TextInput(
            label="Cell of the reference, by its name", sizing_mode="stretch_width"
        )
        self._cell.param.watch(self._named, "value")
        self._evidence = pn.Column(
            note(
                "Click a cell, or enter its name, to see its neighbors and the genes of its label."
            ),
            sizing_mode="stretch_width",
        )
        self._certificate = pn.Column(sizing_mode="stretch_width")
        self._body = pn.Row(
            pn.Column(
                pn.Row(self._by), self._map.view, self._certificate, sizing_mode="stretch_width"
            ),
            pn.Column(self._legend.view, width=230, height=680, scroll=True),
            pn.Column(self._cell, self._evidence, width=400),
            sizing_mode="stretch_width", visible=False,
        )  # fmt: skip
        self.view = pn.Column(self._notices.view, self._body, sizing_mode="stretch_width")

    async def load(self) -> None:
        """Show the chosen index."""
        session, index = self._session, self._session.index
        self._layout = None
        self._body.visible = False
        if index is None:
            self._notices.show("info", ["This server has no cell index yet."])
            return
        with self._notices.telling():
            try:
                self._layout = await session.layout(index.name)
            except (FailedPreconditionError, UnimplementedError) as error:
                self._notices.show("info", [error.message])
        if self._layout is None:
            return
        made = self._layout.certificate
        self._certificate.objects = [
            note(
                f"{made.n_cells:,} cells; {made.method} by {made.library}, fitted to "
                f"{made.n_fitted:,} cells in the {made.space} space, seed {made.seed}. "
                f"Trustworthiness at {made.trust_k} neighbors {made.trustworthiness:.3f}; of cells "
                f"placed afterwards {made.placed_trustworthiness:.3f}; by chance "
                f"{made.permuted_trustworthiness:.3f}. Distances between groups mean little."
            )
        ]
        self._body.visible = True
        await self._colored(fit=True)

    def _coloring(self, layout: Layout) -> Coloring:
        if self._by.value == "batch":
            return by_names("batch", layout.batches, layout.batch_names)
        if self._by.value == "agreement":
            shares = layout.n_same / np.float32(max(1, layout.certificate.k))
            return by_values("neighbors of the same label", shares, (0.0, 1.0))
        return by_names("label", layout.labels, layout.label_names)

    async def _colored(self, *, fit: bool) -> None:
        if self._layout is None:
            return
        coloring = await self._session.ask(self._coloring, self._layout)
        self._legend.show(coloring)
        await self._draw(coloring, fit=fit)

    async def _draw(self, coloring: Coloring, *, fit: bool) -> None:
        layout = self._layout
        if layout is None:
            return
        self._coloring_now = coloring
        layer = Layer(
            "reference", layout.positions, coloring, described(layout), self._pick,
            self._legend.shown,
        )  # fmt: skip
        await self._map.show([layer], fit=fit)

    async def _recolored(self, _: Any) -> None:
        await self._colored(fit=False)

    async def _filtered(self) -> None:
        await self._draw(self._coloring_now, fit=False)

    async def _named(self, event: Any) -> None:
        name, index = str(event.new).strip(), self._session.index
        if not name or self._layout is None:
            return
        with self._notices.telling():
            cell = await self._session.ask(self._session.client.get_cells, index.name, [name])
            row = int(cell.rows[0])
            self._map.mark(self._layout.positions[row])
            await self._pick(row)

    async def _pick(self, row: int) -> None:
        with self._notices.telling():
            self._evidence.loading = True
            try:
                client, index = self._session.client, self._session.index
                found = await self._session.ask(of_reference, client, index.name, row)
                self._evidence.objects = [reference_view(found)]
            finally:
                self._evidence.loading = False


class LabeledMap:
    """The cells of a file on the map of the reference; `view` is what is shown.

    Parameters
    ----------
    session
        The session.
    labeled
        The labeled file.
    picked
        Called with the row of a cell that was clicked.
    """

    def __init__(
        self, session: Session, labeled: Labeled, picked: Callable[[int], Awaitable[None]]
    ) -> None:
        self._session, self._labeled, self._picked = session, labeled, picked
        self._positions = labeled.annotation.predictions.positions
        if not self._positions.shape[1]:
            self.view: Any = alert("info", "The index has no layout, so there is no map.")
            return
        self._map = MapView(session, "The cells on the map of the reference", 2)
        self._legend = Legend(self._filtered)
        self._by = choices("Color by", ["label", "probability", "novelty"])
        self._by.param.watch(self._recolored, "value")
        self.view = pn.Column(
            heading("On the map of the reference"),
            self._by,
            pn.Row(
                pn.Column(self._map.view, sizing_mode="stretch_width"),
                pn.Column(self._legend.view, width=210, height=620, scroll=True),
                sizing_mode="stretch_width",
            ),
            sizing_mode="stretch_width",
        )
        session.start(self._start)

    def mark(self, row: int) -> None:
        """Mark a cell of the file."""
        if self._positions.shape[1]:
            self._map.mark(self._positions[row])

    async def _start(self) -> None:
        self._reference = await self._session.layout(self._labeled.annotation.report.versions.index)
        await self._colored(fit=True)

    def _coloring(self) -> Coloring:
        found = self._labeled.annotation
        if self._by.value == "probability":
            return by_values("probability", found.predictions.probabilities, (0.0, 1.0))
        if self._by.value == "novelty":
            return by_values("novelty", found.predictions.novelties)
        labels = found.labels
        return by_names("label", labels.codes, list(labels.categories))

    async def _colored(self, *, fit: bool) -> None:
        self._coloring_now = await self._session.ask(self._coloring)
        self._legend.show(self._coloring_now)
        await self._draw(fit=fit)

    async def _draw(self, *, fit: bool) -> None:
        layout = self._reference
        gray = np.zeros(len(layout.positions), np.int32)
        faint = Coloring("reference", gray, np.array([_rgb(_FAINT)], np.uint8), ("reference",))
        layers = [
            Layer("reference", layout.positions, faint, described(layout), _nothing, size=4),
            Layer("file", self._positions, self._coloring_now, self._describe, self._picked,
                  self._legend.shown, size=6),
        ]  # fmt: skip
        await self._map.show(layers, fit=fit)

    def _describe(self, rows: npt.NDArray[np.int64]) -> list[str]:
        found = self._labeled.annotation
        labels, chances = found.labels[rows], found.predictions.probabilities[rows]
        ids = found.cell_ids
        return [
            f"{ids[row]}: {label}, probability of the most probable {chance:.2f}"
            for row, label, chance in zip(rows.tolist(), labels, chances.tolist(), strict=True)
        ]

    async def _recolored(self, _: Any) -> None:
        await self._colored(fit=False)

    async def _filtered(self) -> None:
        await self._draw(fit=False)


def described(layout: Layout) -> Callable[[npt.NDArray[np.int64]], list[str]]:
    """Return a function of rows that tells label, batch and agreement of each."""
    k = layout.certificate.k
    batches = [*layout.batch_names, ""]

    def describe(rows: npt.NDArray[np.int64]) -> list[str]:
        of = zip(
            layout.labels[rows].tolist(), layout.batches[rows].tolist(),
            layout.n_same[rows].tolist(), strict=True,
        )  # fmt: skip
        return [
            f"{layout.label_names[label]} {batches[batch]}: {same} of {k} neighbors agree"
            for label, batch, same in of
        ]

    return describe


async def _nothing(_: int) -> None:
    """Cells of the reference are not clickable beside a file's."""


def _rgb(color: str) -> list[int]:
    return [int(color[at : at + 2], 16) for at in (1, 3, 5)]
