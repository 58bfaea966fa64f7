"""How good the labels of a reference are, in words and tables: from a store or from a server."""

from collections.abc import Sequence
from typing import Protocol

NO_EMBEDDING = "none: compared by expression alone"
"""What is shown where an index has no gene vectors."""
_NAMED = 20


class LabelQuality(Protocol):
    """How well cells of one label are found to be unknown where the reference lacks it."""

    @property
    def label(self) -> str:
        """The label."""

    @property
    def n_cells(self) -> int:
        """Its cells that were asked."""

    @property
    def auroc(self) -> float:
        """Of the novelty of its cells against that of known cells."""

    @property
    def found(self) -> float:
        """The share of its cells beyond the novelty limit."""


class SpaceQuality(Protocol):
    """How well cells that were held out were labelled in one space."""

    @property
    def held_out(self) -> str:
        """What was held out."""

    @property
    def n_cells(self) -> int:
        """Cells that were."""

    @property
    def accuracy(self) -> float:
        """The share of right labels."""

    @property
    def macro_f1(self) -> float:
        """The mean F1 over labels."""

    @property
    def calibration_error(self) -> float:
        """Of the probabilities."""

    @property
    def novelty_limit(self) -> float:
        """Beyond it a cell is unknown."""

    @property
    def labels(self) -> Sequence[LabelQuality]:
        """The labels that were left out."""

    @property
    def weak_labels(self) -> Sequence[str]:
        """Those not found to be unknown."""


def in_short(space: str, quality: SpaceQuality) -> str:
    """Say in a line how well labels are found in a space.

    Parameters
    ----------
    space
        ``text`` or ``expression``.
    quality
        What was measured.
    """
    return (
        f"labels by {space}: accuracy {quality.accuracy:.3f}, macro-F1 {quality.macro_f1:.3f}, "
        f"calibration error {quality.calibration_error:.3f} "
        f"(held out: {quality.held_out}, {quality.n_cells} cells)"
    )


def weakness(space: str, quality: SpaceQuality) -> str:
    """Say which labels a missing one may be taken for; empty where there are none.

    Parameters
    ----------
    space
        ``text`` or ``expression``.
    quality
        What was measured.
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
    """Say where the limit of novelty finds few unknown cells; empty where it may be trusted.

    Parameters
    ----------
    space
        ``text`` or ``expression``.
    note
        Why it does, or nothing.
    """
    return f"by {space} {note}" if note else ""


def print_quality(space: str, quality: SpaceQuality, more: Sequence[tuple[str, str]] = ()) -> None:
    """Print how well labels are found in a space, and what is called unknown.

    Parameters
    ----------
    space
        ``text`` or ``expression``.
    quality
        What was measured.
    more
        Other rows of the table.
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
