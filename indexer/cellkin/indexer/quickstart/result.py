"""The result of a quickstart, as shown in tables, on the page and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.store.quality import SpaceQuality
from cellkin.wire.terms import UNKNOWN_LABEL

_TEXTS = ("cell_id", "label", "winner", "reason")
_N_BINS = 10


@dataclass(frozen=True)
class Result:
    """Labels of a query, with their reference and quality.

    Parameters
    ----------
    reference, query, label
        Names of both files, and of the label column.
    n_reference, n_types
        Numbers of labeled reference cells and of labels.
    answer
        Output of ``cellkin annotate --json``.
    cells
        One row per cell, as in ``labels.csv`` of ``cellkin annotate -o labels.csv``.
    quality
        Quality of the labels of held-out reference cells; None if none could be held out.
    truth
        (n_cells,) the query's own labels, None for missing ones; None if it has no such column.
        They are only compared with the result.
    """

    reference: str
    query: str
    label: str
    n_reference: int
    n_types: int
    answer: Mapping[str, Any]
    cells: pd.DataFrame
    quality: SpaceQuality | None
    truth: Sequence[str | None] | None

    @property
    def index(self) -> str:
        """Version of the index that labeled the cells."""
        return str(self.answer["versions"]["index"])

    @property
    def unknown(self) -> npt.NDArray[np.bool_]:
        """(n_cells,) bool, cells without a label."""
        unknown: npt.NDArray[np.bool_] = self.cells["unknown"].to_numpy(bool)
        return unknown

    @property
    def unknown_share(self) -> float:
        """The share of cells without a label, in [0, 1]."""
        return float(self.unknown.mean()) if len(self.cells) else 0.0

    @property
    def warnings(self) -> list[str]:
        """Warnings about the labels, one sentence each."""
        return [str(warning["message"]) for warning in self.answer["warnings"]]

    def label_rows(self) -> list[tuple[str, int, float, float, str]]:
        """Return one row per label, most cells first.

        Returns
        -------
        list of tuple
            Label, number of cells, share in [0, 1], mean probability (NaN for unknown cells), and
            for unknown cells the most frequent of their most probable labels.
        """
        rows = []
        counts = self.cells["label"].value_counts().sort_index(kind="stable")
        for name, n in counts.sort_values(ascending=False, kind="stable").items():
            alike = self.cells[self.cells["label"] == name]
            mean, forced = float(alike["winner_probability"].mean()), ""
            if name == UNKNOWN_LABEL:
                predicted = self.cells.loc[self.unknown, "winner"]
                predicted = predicted[predicted != ""].value_counts()
                forced = f"{predicted.index[0]} ({predicted.iloc[0]})" if len(predicted) else ""
                mean = float("nan")
            rows.append((str(name), int(n), n / len(self.cells), mean, forced))
        return rows

    def reasons(self) -> dict[str, int]:
        """Return the number of unknown cells by reason, most frequent first."""
        counts = self.cells.loc[self.unknown, "reason"].value_counts()
        return {str(reason): int(n) for reason, n in counts.items()}

    def probability_bins(self) -> list[int]:
        """Return a histogram of the probability of the most probable label, in tenths."""
        chances = self.cells["winner_probability"].to_numpy(float)
        found = np.histogram(chances[np.isfinite(chances)], _N_BINS, (0.0, 1.0))[0]
        return [int(n) for n in found]

    def confusion(self) -> "Confusion | None":
        """Return the confusion with the query's own labels; None if it has none."""
        if self.truth is None:
            return None
        own = np.array(["" if name is None else name for name in self.truth], object)
        known = own != ""
        if not known.any():
            return None
        return Confusion.of(own[known], self.cells["label"].to_numpy(object)[known])

    def to_json(self) -> dict[str, Any]:
        """Return the result in types that `json` writes."""
        confusion = self.confusion()
        return {
            "index": self.index,
            "reference_cells": self.n_reference,
            "reference_labels": self.n_types,
            "cells": len(self.cells),
            "label_counts": {name: n for name, n, *_ in self.label_rows()},
            "unknown_share": self.unknown_share,
            "unknown_reasons": self.reasons(),
            "held_out_accuracy": None if self.quality is None else self.quality.accuracy,
            "shared_expression": self.answer["shared_expression"],
            "gene_match": self.answer["gene_match"],
            "warnings": self.answer["warnings"],
            "compared": None if confusion is None else confusion.to_json(),
        }


@dataclass(frozen=True)
class Confusion:
    """Counts of cells by own and by predicted label.

    Parameters
    ----------
    own, claimed
        Names of the rows, and of the columns with ``unknown`` last.
    counts
        (n_own, n_claimed) int64 cells.
    """

    own: list[str]
    claimed: list[str]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, own: npt.NDArray[Any], claimed: npt.NDArray[Any]) -> "Confusion":
        """Count cells by own and predicted label."""
        table = pd.crosstab(own, claimed)
        columns = sorted(map(str, table.columns), key=lambda name: (name == UNKNOWN_LABEL, name))
        return cls([str(name) for name in table.index], columns, table[columns].to_numpy(np.int64))

    @property
    def agreement(self) -> float | None:
        """The share of labels that equal the cell's own, in [0, 1]; None without labels."""
        n = sum(self.counts[:, at].sum() for at, name in enumerate(self.claimed) if self._is(name))
        same = sum(
            self.counts[self.own.index(name), at]
            for at, name in enumerate(self.claimed)
            if self._is(name) and name in self.own
        )
        return float(same / n) if n else None

    @staticmethod
    def _is(name: str) -> bool:
        return name != UNKNOWN_LABEL

    def to_json(self) -> dict[str, Any]:
        """Return the counts in types that `json` writes."""
        return {
            "agreement": self.agreement,
            "own": self.own,
            "claimed": self.claimed,
            "counts": self.counts.tolist(),
        }


def read_cells(path: Path) -> pd.DataFrame:
    """Read the table of labels written by ``cellkin annotate``."""
    texts = dict.fromkeys(_TEXTS, str)
    # "NA" may be the name of a cell; an empty probability is missing.
    numbers = {"winner_probability": [""], "matched_share": [""]}
    frame = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=numbers)
    return frame.astype({"winner_probability": float})
