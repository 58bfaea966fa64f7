"""Folds of a sample, held out in turn."""

from cellkin.indexer.spaces.classifier import (
    FitSpace,
    HeldOut,
    OnFold,
    Votes,
    fold_tasks,
    join_folds,
)
from cellkin.indexer.spaces.sample import Sample
from cellkin.indexer.threads import in_parallel


def hold_out(
    sample: Sample, fit: FitSpace, how: Votes, refine: bool = True, on_fold: OnFold | None = None
) -> HeldOut:
    """Predict the labels of each fold from the rest."""
    tasks = fold_tasks(sample, fit, how, refine, on_fold)
    return join_folds(sample, in_parallel(lambda task: task(), tasks))
