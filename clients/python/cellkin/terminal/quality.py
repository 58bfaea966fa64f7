"""Label quality of a reference, in words and tables; from a store or from a server."""

from collections.abc import Sequence
from typing import Protocol

NO_EMBEDDING = "none: compared by expression alone"
"""Shown for an index without a gene embedding."""
_NAMED = 20


class LabelQuality(Protocol):
    """How well cells of one label are detected as unknown when the reference lacks it."""

    @property
    def label(self) -> str:
        """The label."""

    @property
    def n_cells(self) -> int:
        """Number of its cells that were tested."""

    @property
    def auroc(self) -> float:
        """AUROC of the novelty of its cells against that of known cells."""

    @property
    def found(self) -> float:
        """Share of its cells above the novelty limit."""


class SpaceQuality(Protocol):
    """Quality of the labels of held-out cells in one space."""

    @property
    def held_out(self) -> str:
        """What was held out."""

    @property
    def n_cells(self) -> int:
        """Number of held-out cells."""

    @property
    def accuracy(self) -> float:
        """Share of correct labels."""

    @property
    def macro_f1(self) -> float:
        """Mean F1 over labels."""

    @property
    def calibration_error(self) -> float:
        """Expected calibration error of the probabilities."""

    @property
    def novelty_limit(self) -> float:
        """Cells of higher novelty are unknown."""

    @property
    def labels(self) -> Sequence[LabelQuality]:
        """The labels that were left out of the reference in turn."""

    @property
    def weak_labels(self) -> Sequence[str]:
        """Labels whose cells were not detected as unknown."""


def in_short(space: str, quality: SpaceQuality) -> str:
    """Return a one-line summary of the label quality in a space.

    Parameters
    ----------
    space
        ``text`` or ``expression``.
    quality
        The measured quality.
    """
    return (
        f"labels by {space}: accuracy {quality.accuracy:.3f}, macro-F1 {quality.macro_f1:.3f}, "
        f"calibration error {quality.calibration_error:.3f} "
        f"(held out: {quality.held_out}, {quality.n_cells} cells)"
    )


def weakness(space: str, quality: SpaceQuality) -> str:
    """Return a sentence on labels not detected when missing; empty if there are none.

    Parameters
    ----------
    space
        ``text`` or ``expression``.
    quality
        The measured quality.
    """
    weak = quality.weak_labels
    if not weak:
        return ""
    more = f" and {len(weak) - _NAMED} more" if len(weak) > _NAMED else ""
    return (
        f"by {space} this reference cannot tell what it lacks from: {', '.join(weak[:_NAMED])}"
        f"{more}; left out, many of their cells would be given another label"
    )


def novelty_caution(space: str, note: str) -> str:
    """Return a sentence on a novelty limit that finds few unknown cells; empty if it is reliable.

    Parameters
    ----------
    space
        ``text`` or ``expression``.
    note
        The reason; empty if the limit is reliable.
    """
    return f"by {space} {note}" if note else ""


def print_quality(space: str, quality: SpaceQuality, more: Sequence[tuple[str, str]] = ()) -> None:
    """Print the label quality in a space, and that of labels left out of the reference.

    Parameters
    ----------
    space
        ``text`` or ``expression``.
    quality
        The measured quality.
    more
        Additional rows of the table.
    """
    from cellkin.terminal.console import print_table

    rows = [
        ("held out", f"{quality.held_out}, {quality.n_cells} cells"),
        ("accuracy", f"{quality.accuracy:.3f}"),
        ("macro-F1", f"{quality.macro_f1:.3f}"),
        *more,
        ("calibration error", f"{quality.calibration_error:.3f}"),
        ("novelty limit", f"{quality.novelty_limit:.2f}"),
    ]
    print_table(f"Labels by {space}", ("what", "value"), rows)
    if quality.labels:
        print_table(
            f"Labels left out of the reference, by {space}",
            ("label", "cells", "AUROC", "called too far"),
            [(x.label, x.n_cells, f"{x.auroc:.2f}", f"{x.found:.0%}") for x in quality.labels],
        )
