"""Label quality of an index, measured on held-out cells and kept in the catalog."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellkin.space.classifier import KINDS
from cellkin.space.labels import few_cells as are_few

WEAK_AUROC = 0.85
"""Below it, cells of a missing label get another label too often for novelty to be trusted."""
_NAMED = 20


@dataclass(frozen=True)
class LabelQuality:
    """How well cells of a label are recognized as unknown if the reference lacks it.

    Parameters
    ----------
    label
        The label that was left out.
    n_cells
        Number of cells of the label that were tested.
    auroc
        Area under the ROC curve of the novelty of its cells against that of known cells, in
        [0, 1]; 0.5 is chance.
    found
        Fraction of its cells above the novelty limit, in [0, 1].
    """

    label: str
    n_cells: int
    auroc: float
    found: float

    @property
    def weak(self) -> bool:
        """Whether novelty cannot be trusted for the label: most of its cells get another one."""
        return self.auroc < WEAK_AUROC


@dataclass(frozen=True)
class DepthCost:
    """Label quality in a range of depths, measured on thinned held-out cells.

    Parameters
    ----------
    at_least, below
        The range; depth is defined in `cellkin.space.coverage`.
    n_cells
        Number of cells tested.
    wrong
        Fraction of the assigned labels that are wrong, in [0, 1].
    unknown
        Fraction of cells that are unknown, in [0, 1].
    """

    at_least: float
    below: float
    n_cells: int
    wrong: float
    unknown: float


@dataclass(frozen=True)
class SpaceQuality:
    """Label quality in one space, measured by labeling held-out cells with the rest.

    Parameters
    ----------
    held_out
        What was held out, such as ``4 batches in turn``.
    n_cells
        Number of held-out cells.
    accuracy
        Fraction of correct labels if every cell gets one, in [0, 1].
    macro_f1
        Mean F1 over labels, in [0, 1], of the evidence in use.
    macro_f1_by_evidence
        The same for each kind of evidence, and for all ``combined``.
    calibration_error
        Expected calibration error of the probabilities.
    novelty_limit
        Cells with a higher novelty are unknown.
    labels
        The labels that could be left out, sorted.
    novelty_note
        Why few unknown cells exceed the novelty limit; empty if it can be trusted.
    depth_costs
        Quality by depth, the deepest range first; empty if not measured.
    """

    held_out: str
    n_cells: int
    accuracy: float
    macro_f1: float
    macro_f1_by_evidence: Mapping[str, float]
    calibration_error: float
    novelty_limit: float
    labels: tuple[LabelQuality, ...]
    novelty_note: str = ""
    depth_costs: tuple[DepthCost, ...] = ()

    @property
    def weak_labels(self) -> tuple[str, ...]:
        """The labels whose cells are not recognized as unknown if they are missing, sorted."""
        return tuple(label.label for label in self.labels if label.weak)


def read_qualities(manifest: Mapping[str, Any]) -> dict[str, SpaceQuality]:
    """Read the label quality of an index, by name of the space.

    Parameters
    ----------
    manifest
        Manifest of a version of a cell index.

    Returns
    -------
    dict of str to SpaceQuality
        A space is missing if no cells could be held out; empty for an index made before such
        measurements.
    """
    stored = manifest.get("quality") or {}
    # Sorted by name: stored manifests have sorted keys, but new ones do not.
    return {
        space: _read_quality(found)
        for space, found in sorted(stored.items())
        if "accuracy" in found
    }


def _read_quality(stored: Mapping[str, Any]) -> SpaceQuality:
    by_evidence = dict(stored["macro_f1"])
    left_out = sorted(stored.get("left_out", ()), key=lambda each: str(each["label"]))
    return SpaceQuality(
        stored["held_out"],
        stored["n_held_out"],
        stored["accuracy"],
        by_evidence[_evidence_of(stored["mix"])],
        by_evidence,
        stored["ece"],
        stored["novelty_limit"],
        tuple(LabelQuality(x["label"], x["n_cells"], x["auroc"], x["found"]) for x in left_out),
        stored.get("novelty_note", ""),
        tuple(DepthCost(**cost) for cost in stored.get("depth", {}).get("costs", ())),
    )


def _evidence_of(mix: list[float]) -> str:
    """Return the kind of evidence with nonzero weight, or ``combined`` for several."""
    chosen = [kind for kind, weight in zip(KINDS, mix, strict=False) if weight]
    return chosen[0] if len(chosen) == 1 else "combined"


def few_cells(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the labels with too few cells to calibrate a probability."""
    few = are_few(np.array(list(counts.values()), np.int64))
    return {label: n for (label, n), is_few in zip(counts.items(), few, strict=True) if is_few}


def few_cells_caution(manifest: Mapping[str, Any]) -> str:
    """Return a caution on the labels of an index fitted to too few cells; empty if none.

    Parameters
    ----------
    manifest
        Manifest of a version of a cell index.
    """
    counts = manifest.get("few_cells") or {}
    few = [f"{label} ({counts[label]})" for label in sorted(counts)]
    if not few:
        return ""
    more = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
    return (
        f"the reference has too few cells of {', '.join(few[:_NAMED])}{more} to measure how sure "
        "such a label is: its cells are called unknown unless a least probability is asked for; "
        "give more cells of it"
    )
