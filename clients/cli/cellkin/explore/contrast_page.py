"""The page "Contrast"."""

from typing import Any

import numpy as np
import pandas as pd
import panel as pn
import panel_material_ui as pmui

from cellkin.client import Client, Contrast
from cellkin.client.contrast import Comparison, contrast_cells, contrast_reference
from cellkin.client.queries import WholeQuery
from cellkin.explore import charts
from cellkin.explore.labeled import Labeled
from cellkin.explore.parts import (
    Notices,
    alert,
    boxes,
    choices,
    downloads,
    heading,
    note,
    offer,
    table,
)
from cellkin.explore.session import Session
from cellkin.matrices.cells import open_cells

_REFERENCE = "cells of the reference"
_N_SETS = 50
_COLUMNS = {
    "gene": "gene", "log2_fold_change": "log2 fold change", "fdr": "FDR", "mean_a": "mean a",
    "mean_b": "mean b", "detected_a": "detected a", "detected_b": "detected b",
    "statistic": "statistic", "name": "name",
}  # fmt: skip
"""Columns of a contrast that are shown, and how they are called."""
_NUMBERS = ["log2 fold change", "FDR", "mean a", "mean b", "statistic"]
_WRAPPED = {
    "& .MuiToggleButtonGroup-root": {"flexWrap": "wrap"},
    "& button": {
        "textTransform": "none",
        "margin": "2px",
        "border": "1px solid #c3cad4 !important",
    },
}
"""Style of buttons of labels, which may be many."""


class ContrastPage:
    """Compare two groups of cells; `view` is what is shown.

    Parameters
    ----------
    session
        The session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._notices = Notices(session)
        self._of = choices("Compare", [_REFERENCE])
        self._a, self._b = (
            pmui.CheckButtonGroup(
                label=label,
                options=[],
                value=[],
                size="small",
                sx=_WRAPPED,
                sizing_mode="stretch_width",
            )
            for label in ("Group a", "Group b; none for all other labels")
        )
        self._collections = boxes("Test gene sets of")
        self._go = pmui.Button(label="Compare", on_click=self._compare)
        self._of.param.watch(self._list, "value")
        self._results = pn.Column(sizing_mode="stretch_width")
        session.param.watch(self._offer, "labeled")
        self.view = pn.Column(
            self._of, self._a, self._b,
            pn.Row(self._collections, self._go, sizing_mode="stretch_width"),
            self._notices.view, self._results, sizing_mode="stretch_width",
        )  # fmt: skip

    async def load(self) -> None:
        """List the labels of the chosen index, and the collections of the server."""
        self._results.objects = []
        self._list(None)
        with self._notices.telling():
            client = self._session.client
            found = await self._session.ask(lambda: list(client.list_gene_set_collections()))
            offer(self._collections, [each.version for each in found])

    def _offer(self, event: Any) -> None:
        files = [] if event.new is None else [f"cells of {event.new.path.name}"]
        self._of.options = [_REFERENCE, *files]
        if self._of.value not in self._of.options:
            self._of.value = _REFERENCE

    def _list(self, _: Any) -> None:
        labeled, index = self._session.labeled, self._session.index
        if self._of.value == _REFERENCE:
            labels = list(index.labels) if index is not None else []
        else:
            labels = [] if labeled is None else list(labeled.annotation.counts())
        for group in (self._a, self._b):
            group.param.update(options=labels, value=[])

    async def _compare(self, _: Any) -> None:
        session = self._session
        with self._notices.telling(self._go):
            self._results.loading = True
            try:
                asked = Comparison(
                    session.index.name, tuple(self._a.value), tuple(self._b.value),
                    tuple(self._collections.value), n_sets=_N_SETS,
                )  # fmt: skip
                if self._of.value == _REFERENCE or session.labeled is None:
                    found = await session.ask(contrast_reference, session.client, asked)
                else:
                    found = await session.work(
                        contrast_labeled, session.client, session.labeled, asked
                    )
                csv = session.folder / "contrast.csv"
                await session.ask(found.write_csv, csv)
                self._results.objects = [
                    *_view(found),
                    downloads(session, [csv]),
                ]
            finally:
                self._results.loading = False


def contrast_labeled(client: Client, labeled: Labeled, asked: Comparison) -> Contrast:
    """Compare cells of a labeled file by their labels."""
    found = labeled.annotation
    with open_cells(labeled.path, found.how) as cells:
        return contrast_cells(client, WholeQuery(cells), found.labels, asked)


def _view(found: Contrast) -> list[Any]:
    frame = pd.DataFrame(found.columns())
    measured = frame[~frame["predicted_from_text"]]
    order = np.argsort(-measured["statistic"].abs().to_numpy(), kind="stable")
    genes = measured.iloc[order][list(_COLUMNS)].rename(columns=_COLUMNS)
    parts: list[Any] = [
        heading(found.title, 5),
        *(alert("warning", str(each)) for each in found.warnings),
        pn.Row(
            pn.Column(charts.volcano(found), sizing_mode="stretch_width"),
            pn.Column(
                table(genes, digits=_NUMBERS, shares=["detected a", "detected b"]),
                sizing_mode="stretch_width",
            ),
            sizing_mode="stretch_width",
        ),
    ]
    if found.sets.sets:
        sets = pd.DataFrame(found.sets.columns())
        kept = ["collection", "set", "n_genes", "effect", "fdr", "permuted_fdr", "called",
                "leading_genes"]  # fmt: skip
        parts += [
            heading("Gene sets"),
            note(found.chance[:1].upper() + found.chance[1:] + "."),
            table(sets[kept], digits=["effect", "fdr", "permuted_fdr"]),
        ]
    return parts
