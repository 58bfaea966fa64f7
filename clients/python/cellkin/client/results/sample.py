"""Warnings of a report, and the check of a sample with foreign genes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellkin.client.results.tables import Shown, Tabular
from cellkin.v1 import cell_service_pb2 as wire

BELONGS, FOREIGN, UNDECIDED = "belongs", "foreign", "undecided"
_VERDICTS = {
    wire.SAMPLE_VERDICT_BELONGS: BELONGS,
    wire.SAMPLE_VERDICT_FOREIGN: FOREIGN,
    wire.SAMPLE_VERDICT_UNDECIDED: UNDECIDED,
}


@dataclass(frozen=True, repr=False)
class ReportWarning(Shown):
    """Warning about results that are less reliable than usual.

    Parameters
    ----------
    reason
        Stable upper-case identifier, such as ``WEAK_LABELS``.
    message
        Finding and consequence, for people.
    labels
        The labels concerned; empty for all.
    """

    reason: str
    message: str
    labels: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the message, followed by the labels that it does not name itself."""
        others = [label for label in self.labels if label not in self.message]
        return f"{self.message}: {', '.join(others)}" if others else self.message


@dataclass(frozen=True, repr=False)
class LabelCheck(Shown):
    """Comparison of a sample's cells of one label with the reference's.

    Parameters
    ----------
    label
        The label.
    n_cells
        Number of background cells with this label.
    similarity
        Similarity of their expression of paired genes, in [-1, 1].
    confirmed
        Whether the similarity is high enough. Cells of an unconfirmed label are unknown.
    novelty_limit
        Cells of this label with higher novelty are unknown.
    """

    label: str
    n_cells: int
    similarity: float
    confirmed: bool
    novelty_limit: float


@dataclass(frozen=True, repr=False)
class SampleCheck(Tabular):
    """Whether a sample with genes foreign to the reference belongs to it.

    Genes of the sample are paired with genes of the reference by their texts, and the sample's
    cells of each label are compared with the reference's by the expression of paired genes.

    Parameters
    ----------
    verdict
        ``belongs``, ``foreign`` or ``undecided`` (too few cells, labels or genes, or only part of
        the labels confirmed). All cells are unknown unless the sample belongs.
    n_cells
        Number of background cells that were checked.
    n_genes
        Number of paired genes.
    confirmed_share
        Share of these cells whose label was confirmed, in [0, 1].
    labels
        The predicted labels, most cells first.
    """

    verdict: str
    n_cells: int
    n_genes: int
    confirmed_share: float
    labels: tuple[LabelCheck, ...]

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """The predicted labels that were not confirmed, most cells first."""
        return tuple(check.label for check in self.labels if not check.confirmed)

    def columns(self) -> dict[str, Any]:
        """Return one row per label."""
        return {
            "label": np.array([check.label for check in self.labels], object),
            "n_cells": np.array([check.n_cells for check in self.labels], np.int64),
            "similarity": np.array([check.similarity for check in self.labels], np.float32),
            "confirmed": np.array([check.confirmed for check in self.labels], bool),
            "novelty_limit": np.array([check.novelty_limit for check in self.labels], np.float32),
        }

    def sentence(self, index: str) -> str:
        """Return a sentence if the sample belongs; empty if not, as a warning then reports it.

        Parameters
        ----------
        index
            Name of the reference.
        """
        if self.verdict != BELONGS:
            return ""
        return (
            f"the sample belongs to {index}: {self.confirmed_share:.0%} of the cells' labels were "
            f"confirmed by expression ({self.n_cells:,} cells, {self.n_genes:,} paired genes)"
        )


def read_warnings(messages: Iterable[wire.Warning]) -> tuple[ReportWarning, ...]:
    """Read the warnings of a report."""
    return tuple(ReportWarning(m.reason, m.message, tuple(m.labels)) for m in messages)


def read_sample_check(message: wire.SampleCheck) -> SampleCheck:
    """Read the check of a sample."""
    return SampleCheck(
        _VERDICTS.get(message.verdict, UNDECIDED),
        message.n_cells,
        message.n_genes,
        message.confirmed_share,
        tuple(
            LabelCheck(m.label, m.n_cells, m.similarity, m.confirmed, m.novelty_limit)
            for m in message.labels
        ),
    )
