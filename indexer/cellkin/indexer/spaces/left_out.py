"""Whether cells of a label are found unknown where the reference lacks it."""

from dataclasses import dataclass

import numpy as np

from cellkin.indexer.measures import auroc
from cellkin.indexer.spaces.readout import FitSpace, Trained, Votes
from cellkin.indexer.spaces.sample import Sample, balanced, folds
from cellkin.space.readout import Readout

_NOVELTY_CELLS = 2000


@dataclass(frozen=True)
class LeftOut:
    """How well a label is found to be unknown where the reference lacks it.

    Parameters
    ----------
    label
        Its name.
    n_cells
        Its cells that were asked.
    auroc
        Area under the curve of its novelty against that of known cells.
    found
        Share of its cells beyond the limit.
    """

    label: str
    n_cells: int
    auroc: float
    found: float


def leave_labels_out(sample: Sample, fit: FitSpace, readout: Readout, how: Votes) -> list[LeftOut]:
    """Leave every label out of the reference in turn, and see whether its cells are found unknown.

    Each is asked on the one held-out part that has most of its cells.
    """
    rows = balanced(sample.labels, _NOVELTY_CELLS)
    small = sample.take(rows)
    parts = folds(small)
    found = []
    for code, name in enumerate(small.label_names):
        held = max(parts, key=lambda part: int((small.labels[part] == code).sum()))
        rest = np.setdiff1d(np.arange(small.n_cells), held, assume_unique=True)
        rest = rest[small.labels[rest] != code]
        train = small.take(rest)
        asked = held[np.isin(small.labels[held], small.labels[rest]) | (small.labels[held] == code)]
        left = small.labels[asked] == code
        if train.n_labels < 2 or not 0 < left.sum() < len(left):
            continue
        trained = Trained.of(train, fit, how, refine=True)
        far = trained.read(trained.fitted.place(small.cells[asked])).novelties.astype(np.float64)
        area = auroc(left, far)
        assert area is not None  # there are cells of this label and of others
        share = float((far[left] > readout.novelty_limit).mean())
        found.append(LeftOut(name, int(left.sum()), area, share))
    return found
