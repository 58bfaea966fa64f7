"""Fit the spaces of a reference to a sample of its cells, and evaluate them on held-out cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from cellkin.indexer.cells.engines import Engine, Finished
from cellkin.indexer.cells.publish import Progress, Spaces, Stages
from cellkin.indexer.cells.worker import Shard, Work
from cellkin.indexer.spaces.classifier import (
    FittedSpace,
    HeldOut,
    Votes,
    calibrate,
    draft,
    fold_tasks,
    join_folds,
    probability_report,
)
from cellkin.indexer.spaces.contrast import Contrast
from cellkin.indexer.spaces.coverage import CoverageProbe, depth_report
from cellkin.indexer.spaces.expression import FittedExpression, fit_expression
from cellkin.indexer.spaces.foreign import fit_foreign
from cellkin.indexer.spaces.left_out import leave_labels_out
from cellkin.indexer.spaces.novelty import with_novelty
from cellkin.indexer.spaces.sample import Sample, balanced, folds
from cellkin.indexer.spaces.text import FittedText, fit_text
from cellkin.indexer.threads import blas_threads, in_parallel
from cellkin.space.arrays import CsrMatrix, Float32Vector, Int32Vector, Int64Vector
from cellkin.space.classifier import LabelClassifier
from cellkin.space.projection import CellSpace
from cellkin.wire.errors import InvalidArgumentError

SAMPLE_CELLS = 20_000
"""Maximum number of cells that spaces are fitted to; rare labels are kept whole."""
_LOOKED_AT = 100_000
# With more cells the evaluation takes longer than placing the reference.
_HELD_OUT_CELLS = 8_000
# Where a label is left out, the head has a share in which label a cell is compared with, and none
# in how novel it is: with a third of the steps the mean AUROC falls by .001 (ADR 37).
_LEFT_OUT_STEPS = 60
_TWO_LABELS = (
    "two labels are told apart, and neither can be left out to see whether cells of other types "
    "are called unknown: many of them may be given one of the two"
)

Space = TypeVar("Space", bound=FittedSpace)
FitText: TypeAlias = Callable[
    [CellSpace, Sample, Int64Vector | None, bool, Contrast | None], FittedText
]


@dataclass(frozen=True)
class Fitted:
    """Fitted spaces of a reference and their quality.

    Parameters
    ----------
    spaces
        The spaces.
    quality
        Manifest entries on the quality of each space, by its name.
    label_counts
        Number of sampled cells that the spaces were fitted to, by label.
    """

    spaces: Spaces
    quality: dict[str, Any]
    label_counts: dict[str, int]


def choose_sample(shards: Sequence[Shard], n_cells: int = SAMPLE_CELLS) -> list[Shard]:
    """Choose the cells that spaces are fitted to; shards without any are left out.

    They are chosen from about `_LOOKED_AT` cells at the starts of the shards, and all cells of
    labels that do not occur there.
    """
    total = sum(shard.stop - shard.start for shard in shards)
    share = min(1.0, _LOOKED_AT / total)
    labels = pa.chunked_array([c for s in shards for c in s.rows["label"].chunks], pa.string())
    codes: Int32Vector = (
        labels.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    )
    starts = np.cumsum([0, *(shard.stop - shard.start for shard in shards)])
    offset = np.concatenate([np.arange(b - a) for a, b in pairwise(starts)])
    size = np.repeat(np.diff(starts), np.diff(starts))
    near = offset < np.ceil(share * size)
    seen = np.isin(codes, codes[near])
    candidates = np.flatnonzero((codes >= 0) & (near | ~seen))
    chosen = candidates[balanced(codes[candidates], n_cells)]
    found = []
    for shard, start, stop in zip(shards, starts, starts[1:], strict=False):
        first, last = np.searchsorted(chosen, [start, stop])
        if last > first:
            within = chosen[first:last] - start
            upto = int(within[-1]) + 1
            rows = shard.rows.slice(0, upto)
            found.append(Shard(shard.file, shard.start, shard.start + upto, rows, within))
    return found


def read_sample(engine: Engine, work: Work, chosen: Sequence[Shard], finished: Finished) -> Sample:
    """Read the chosen cells over all genes that have a GeneID in any file."""
    parts = engine.run(work, "take", chosen, finished)
    every = np.unique(np.concatenate([file.gene_ids for file in work.files]))
    genes = every[every != 0]
    blocks = []
    for shard, cells in zip(chosen, parts, strict=True):
        blocks.append(_by_gene(cells, work.files[shard.file].gene_ids, genes))
    rows = pa.concat_tables([s.rows.take(pa.array(s.chosen)) for s in chosen])
    names, labels = np.unique(rows["label"].to_numpy(zero_copy_only=False), return_inverse=True)
    _, batches = np.unique(rows["batch"].to_numpy(zero_copy_only=False), return_inverse=True)
    cells = sp.csr_matrix(sp.vstack(blocks, "csr"), dtype=np.float32)
    cells.sort_indices()
    return Sample(
        cells, genes, labels.astype(np.int32), [str(n) for n in names], batches.astype(np.int32)
    )


def _by_gene(cells: CsrMatrix, ids: Int64Vector, genes: Int64Vector) -> CsrMatrix:
    """Return (n_cells, n_genes) expression by gene; columns of one gene are added."""
    met = np.flatnonzero(ids)
    places = np.searchsorted(genes, ids[met])
    if len(met) == len(ids) == len(np.unique(places)):  # every column is a gene of its own
        return sp.csr_matrix(
            (cells.data, places.astype(np.int32)[cells.indices], cells.indptr),
            (cells.shape[0], len(genes)),
        )
    ones = np.ones(len(met), np.float32)
    return cells @ sp.csr_matrix((ones, (met, places)), (len(ids), len(genes)))


def shared_genes(work: Work) -> Int64Vector:
    """Return the ascending GeneIDs that all files have, as an unmeasured gene is not zero."""
    shared = np.unique(work.files[0].gene_ids)
    for file in work.files[1:]:
        shared = np.intersect1d(shared, file.gene_ids)
    return np.asarray(shared[shared != 0])


class Judging(Enum):
    """What is held out of a reference to evaluate its labels."""

    NOTHING = 0
    """Nothing: probabilities and novelty are not calibrated."""
    CELLS = 1
    """Cells, by batch if there are several, to calibrate probabilities and novelty."""
    LEAVE_OUT = 2
    """Also each label in turn, to measure how well it is found unknown; changes no prediction."""


def fit_spaces(
    text: CellSpace | None, sample: Sample, counts: Int64Vector, shared: Int64Vector, how: Votes,
    stages: Stages, judging: Judging = Judging.LEAVE_OUT,
) -> Fitted:  # fmt: skip
    """Fit the spaces and their classifiers.

    Parameters
    ----------
    text
        The text space with its gene vectors, and weights that do not depend on labels; None for
        expression alone.
    sample
        Cells to fit to.
    counts
        (n_labels,) int64 cells of each label in the whole reference.
    shared
        GeneIDs that all files measure, to fit the expression space to; it is left out if there are
        none.
    how
        How neighbors vote, and when a cell is unknown.
    stages
        Shows progress.
    judging
        What is held out.

    Raises
    ------
    InvalidArgumentError
        If there is no space to fit: no text space, and one label or no gene that all files share.
    """
    spaces = Spaces()
    quality: dict[str, Any] = {}
    if text is not None:
        with stages("fitting the text space") as progress:
            fitted_text, classifier, quality["text"] = fit_text_part(
                text, sample, counts, how, judging, progress=progress
            )
            foreign = fit_foreign(fitted_text, sample)
        spaces = Spaces(fitted_text.space, classifier, foreign=foreign)
    keep = np.flatnonzero(np.isin(sample.gene_ids, shared))
    if sample.n_labels > 1 and len(keep):
        with stages("fitting the expression space") as progress:
            common = sample.of_genes(keep)
            fitted, classifier, quality["expression"] = fit_expression_part(
                common, how, judging, progress
            )
        spaces = replace(spaces, expression=fitted.space, expression_classifier=classifier)
    elif text is None:
        raise InvalidArgumentError(_nothing_to_compare(sample, len(keep)))
    fitted_to = dict(zip(sample.label_names, sample.counts().tolist(), strict=True))
    return Fitted(spaces, quality, fitted_to)


def _nothing_to_compare(sample: Sample, n_shared: int) -> str:
    if sample.n_labels < 2:
        return (
            f"every labeled cell is {sample.label_names[0]!r}: by expression cells are told apart "
            "by their labels, so at least two are needed; give a reference with more types, or "
            "another --label"
        )
    return (
        f"the files share {n_shared} genes, and cells of different genes cannot be compared by "
        "expression; give files of one species with the same kind of gene names"
    )


def fit_text_part(
    text: CellSpace, sample: Sample, counts: Int64Vector, how: Votes, judging: Judging,
    fit: FitText = fit_text, progress: Progress = lambda done, total: None,
) -> tuple[FittedText, LabelClassifier, dict[str, Any]]:  # fmt: skip
    """Fit a text space and its classifier.

    Parameters
    ----------
    text, sample, counts, how
        As in `fit_spaces`.
    judging
        What is held out.
    fit
        `fit_text`, or another function that fits a text space.
    progress
        Called with the steps done and the steps in total.

    Returns
    -------
    fitted
        The space.
    classifier
        Turns its vectors into labels.
    quality
        Manifest entries on its quality; empty if nothing was held out.
    """

    def refit(part: Sample, training: Contrast | None) -> FittedSpace:
        return fit(text, part, None, False, training)

    def whole() -> FittedText:
        return fit(text, sample, counts, True, None)

    with blas_threads(1):  # most products are small; the fit raises the limit for large ones
        return _judged(whole, refit, sample, how, False, judging, progress)


def fit_expression_part(
    sample: Sample, how: Votes, judging: Judging,
    progress: Progress = lambda done, total: None,
) -> tuple[FittedExpression, LabelClassifier, dict[str, Any]]:  # fmt: skip
    """Fit an expression space and its classifier; see `fit_text_part`.

    Parameters
    ----------
    sample
        Cells to fit to, over the genes measured in all of them.
    how, judging, progress
        As in `fit_text_part`.
    """

    def refit(part: Sample, training: Contrast | None) -> FittedSpace:
        return fit_expression(part, approximate=True, training=training)

    with blas_threads(1):  # as in `fit_text_part`
        return _judged(lambda: fit_expression(sample), refit, sample, how, True, judging, progress)


def _judged(
    whole: Callable[[], Space], refit: Callable[[Sample, Contrast | None], FittedSpace],
    sample: Sample, how: Votes, by_expression: bool, judging: Judging, progress: Progress,
) -> tuple[Space, LabelClassifier, dict[str, Any]]:  # fmt: skip
    """Fit a space, draft a classifier, and calibrate it on held-out cells.

    The whole and the folds are fitted at the same time, each in one thread.
    """

    def drafted() -> tuple[Space, LabelClassifier, Float32Vector]:
        fitted = whole()
        placed = fitted.own
        first = draft(fitted, sample, placed, how, by_expression)
        return fitted, *with_novelty(first, placed, sample)

    progress(0, 3)
    part, probe = sample, None
    tasks: list[Callable[[], Any]] = []
    if sample.n_labels > 1 and judging is not Judging.NOTHING:
        part = sample.take(balanced(sample.labels, _HELD_OUT_CELLS))
        probe = CoverageProbe(len(folds(part))) if by_expression else None
        on_fold = None if probe is None else probe.predict
        tasks = fold_tasks(part, lambda train: refit(train, None), how, by_expression, on_fold)
    (fitted, classifier, own), *found = in_parallel(lambda task: task(), [drafted, *tasks])
    progress(1, 3)
    held = join_folds(part, found)
    if not len(held.truth):
        return fitted, classifier, {}
    classifier, macro_f1 = calibrate(classifier, held, own, part.counts(), how)
    if probe:
        classifier = probe.fit(classifier, sample)
    progress(2, 3)
    quality = _quality(classifier, held, macro_f1, part)
    if judging is Judging.LEAVE_OUT:
        brief = Contrast(steps=_LEFT_OUT_STEPS)
        left_out = leave_labels_out(part, lambda train: refit(train, brief), classifier, how)
        quality["left_out"] = [vars(x) for x in left_out]
    else:
        quality["not_left_out"] = True
    progress(3, 3)
    if probe:
        quality["depth"] = depth_report(probe, classifier, sample)
    return fitted, classifier, quality


def _quality(
    classifier: LabelClassifier, held: HeldOut, macro_f1: dict[str, float], sample: Sample
) -> dict[str, Any]:
    n_batches = int(sample.batches.max()) + 1
    report = probability_report(held, classifier)
    if sample.n_labels == 2:
        report["novelty_note"] = report["novelty_note"] or _TWO_LABELS
    return {
        "held_out": f"{n_batches} batches in turn" if n_batches > 1 else "fifths of the cells",
        "n_held_out": len(held.truth),
        "macro_f1": macro_f1,
        "mix": classifier.mix.tolist(),
        **report,
        "novelty_limit": classifier.novelty_limit,
    }
