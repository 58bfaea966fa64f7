"""What weakens an answer, and whether a sample of foreign genes belongs to the reference."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellkin.client.results.tables import Tabular
from cellkin.v1 import cell_service_pb2 as wire

BELONGS, FOREIGN, UNDECIDED = "belongs", "foreign", "undecided"
_VERDICTS = {
    wire.SAMPLE_VERDICT_BELONGS: BELONGS,
    wire.SAMPLE_VERDICT_FOREIGN: FOREIGN,
    wire.SAMPLE_VERDICT_UNDECIDED: UNDECIDED,
}


@dataclass(frozen=True)
class ReportWarning:
    """Something that weakens an answer without preventing it.

    Parameters
    ----------
    reason
        Which: an upper-case word that does not change, such as ``WEAK_LABELS``.
    message
        What was found and what it means, for people.
    labels
        The labels it is about; empty where it is about all.
    """

    reason: str
    message: str
    labels: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the message, and after it those labels that it does not name itself."""
        others = [label for label in self.labels if label not in self.message]
        return f"{self.message}: {', '.join(others)}" if others else self.message


@dataclass(frozen=True)
class LabelCheck:
    """How a sample's cells of one label compare with the reference's.

    Parameters
    ----------
    label
        The label.
    n_cells
        Cells of the background with this label.
    similarity
        How alike their expression of paired genes is, in [-1, 1].
    confirmed
        Whether that is enough. Cells of a label that is not confirmed are unknown.
    novelty_limit
        A cell of this label of more novelty is unknown.
    """

    label: str
    n_cells: int
    similarity: float
    confirmed: bool
    novelty_limit: float


@dataclass(frozen=True)
class SampleCheck(Tabular):
    """Whether a sample, whose genes are foreign to the reference, belongs to it.

    Genes of the sample are paired with genes of the reference by their texts, and the sample's
    cells of each label are compared with the reference's by the expression of paired genes.

    Parameters
    ----------
    verdict
        ``belongs``, ``foreign`` or ``undecided`` (too few cells, labels or genes, or a part of the
        labels confirmed). All cells are unknown unless the sample belongs.
    n_cells
        Cells of the background that were looked at.
    n_genes
        Genes that were paired.
    confirmed_share
        The share of these cells whose label was confirmed, in [0, 1].
    labels
        The labels that were predicted, most cells first.
    """

    verdict: str
    n_cells: int
    n_genes: int
    confirmed_share: float
    labels: tuple[LabelCheck, ...]

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """The labels that were predicted and not confirmed, most cells first."""
        return tuple(check.label for check in self.labels if not check.confirmed)

    def columns(self) -> dict[str, Any]:
        """Return one row a label."""
        return {
            "label": np.array([check.label for check in self.labels], object),
            "n_cells": np.array([check.n_cells for check in self.labels], np.int64),
            "similarity": np.array([check.similarity for check in self.labels], np.float32),
            "confirmed": np.array([check.confirmed for check in self.labels], bool),
            "novelty_limit": np.array([check.novelty_limit for check in self.labels], np.float32),
        }

    def sentence(self, index: str) -> str:
        """Return in words that the sample belongs; empty where it does not, which is a warning.

        Parameters
        ----------
        index
            What the reference is called.
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
