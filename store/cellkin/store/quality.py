"""How good the labels of an index are: what the catalog keeps of cells that were held out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellkin.space.labels import few_cells as are_few
from cellkin.space.readout import KINDS

WEAK_AUROC = 0.85
"""Below it a missing label is mistaken too often for "not called unknown" to mean anything."""
_NAMED = 20


@dataclass(frozen=True)
class LabelQuality:
    """How well cells of one label are found to be unknown where the reference lacks it.

    Parameters
    ----------
    label
        The label that was left out.
    n_cells
        Its cells that were asked.
    auroc
        Area under the curve of the novelty of its cells against that of known cells, in [0, 1];
        0.5 is chance.
    found
        The share of its cells beyond the novelty limit, in [0, 1].
    """

    label: str
    n_cells: int
    auroc: float
    found: float

    @property
    def weak(self) -> bool:
        """Whether that is too weak to trust: its cells would mostly be given another label."""
        return self.auroc < WEAK_AUROC


@dataclass(frozen=True)
class DepthCost:
    """What labels are worth at one range of depths, measured on thinned cells that were held out.

    Parameters
    ----------
    at_least, below
        The range; see `cellkin.space.coverage` for what depth is.
    n_cells
        Cells that were asked.
    wrong
        The share of wrong labels among those claimed, in [0, 1].
    unknown
        The share of cells that were unknown, in [0, 1].
    """

    at_least: float
    below: float
    n_cells: int
    wrong: float
    unknown: float


@dataclass(frozen=True)
class SpaceQuality:
    """How well cells that were held out were labelled in one space by the rest.

    Parameters
    ----------
    held_out
        What was held out, such as ``4 batches in turn``.
    n_cells
        Cells that were.
    accuracy
        The share of right labels where every cell gets one, in [0, 1].
    macro_f1
        The mean F1 over labels, in [0, 1], by the evidence that is used.
    macro_f1_by_evidence
        The same by each kind of evidence, and by all ``combined``.
    calibration_error
        Expected calibration error of the probabilities.
    novelty_limit
        A cell of more novelty than this is unknown.
    labels
        The labels that could be left out, ascending.
    novelty_note
        Why few unknown cells are beyond the novelty limit, in words; empty where it may be trusted.
    depth_costs
        What less depth costs, the deepest first; empty where it was not measured.
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
        """The labels whose cells are not found to be unknown where they are missing, ascending."""
        return tuple(label.label for label in self.labels if label.weak)


def read_qualities(manifest: Mapping[str, Any]) -> dict[str, SpaceQuality]:
    """Read how good the labels of an index are, by name of the space.

    Parameters
    ----------
    manifest
        Of a version of a cell index.

    Returns
    -------
    dict of str to SpaceQuality
        A space is missing where no cells could be held out, and all are in the manifest of an
        index that is older than such measurements.
    """
    stored = manifest.get("quality") or {}
    # In the order of names: a manifest that was read back has its keys so, a new one has not.
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
    """Return what the weights choose: one kind of evidence, or all that there are, combined."""
    chosen = [kind for kind, weight in zip(KINDS, mix, strict=False) if weight]
    return chosen[0] if len(chosen) == 1 else "combined"


def few_cells(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the labels that have cells, but too few to calibrate a probability by."""
    few = are_few(np.array(list(counts.values()), np.int64))
    return {label: n for (label, n), is_few in zip(counts.items(), few, strict=True) if is_few}


def few_cells_caution(manifest: Mapping[str, Any]) -> str:
    """Say which labels of an index were fitted to too few cells; empty where none was.

    Parameters
    ----------
    manifest
        Of a version of a cell index.
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
