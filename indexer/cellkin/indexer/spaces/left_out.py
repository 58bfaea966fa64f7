"""Measure whether cells are found unknown if their label is left out of the reference."""

from dataclasses import dataclass

import numpy as np

from cellkin.indexer.measures import auroc
from cellkin.indexer.spaces.classifier import FitSpace, Trained, Votes
from cellkin.indexer.spaces.sample import Sample, balanced, folds
from cellkin.indexer.threads import in_parallel
from cellkin.space.classifier import LabelClassifier

_NOVELTY_CELLS = 2000


@dataclass(frozen=True)
class LeftOut:
    """Detection of a label's cells as unknown if it is left out of the reference.

    Parameters
    ----------
    label
        Name of the label.
    n_cells
        Number of its test cells.
    auroc
        AUROC of novelty between its cells and those of known labels.
    found
        Share of its cells beyond the limit of novelty.
    """

    label: str
    n_cells: int
    auroc: float
    found: float


def leave_labels_out(
    sample: Sample, fit: FitSpace, classifier: LabelClassifier, how: Votes
) -> list[LeftOut]:
    """Leave each label out of the reference in turn, and measure the novelty of its cells.

    Each is tested on the fold with most of its cells.
    """
    small = sample.take(balanced(sample.labels, _NOVELTY_CELLS))
    parts = folds(small)

    def left_out(code: int) -> LeftOut | None:
        held = max(parts, key=lambda part: int((small.labels[part] == code).sum()))
        rest = np.setdiff1d(np.arange(small.n_cells), held, assume_unique=True)
        rest = rest[small.labels[rest] != code]
        train = small.take(rest)
        asked = held[np.isin(small.labels[held], small.labels[rest]) | (small.labels[held] == code)]
        left = small.labels[asked] == code
        if train.n_labels < 2 or not 0 < left.sum() < len(left):
            return None
        trained = Trained.of(train, fit, how, refine=True)
        far = trained.read(trained.fitted.place(small.cells[asked])).novelties.astype(np.float64)
        area = auroc(left, far)
        assert area is not None  # there are cells of this label and of others
        share = float((far[left] > classifier.novelty_limit).mean())
        return LeftOut(small.label_names[code], int(left.sum()), area, share)

    # Labels left out together would be fewer fits, but other figures: AUROC differs by up to .09.
    return [x for x in in_parallel(left_out, range(small.n_labels)) if x is not None]
