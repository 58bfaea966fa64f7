"""The spaces of this project as methods that an evaluation can ask."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import scipy.sparse as sp

from cellkin.indexer.cells.fit import GeneStatistics, fit_space
from cellkin.indexer.evaluation.baselines import Answer, check_reference
from cellkin.indexer.spaces.expression import FittedExpression, fit_expression
from cellkin.indexer.spaces.mlp import fit_mlp_text
from cellkin.indexer.spaces.novelty import nearest, with_novelty
from cellkin.indexer.spaces.readout import (
    FitSpace,
    FittedSpace,
    Votes,
    calibrate,
    draft,
    hold_out,
)
from cellkin.indexer.spaces.sample import Sample
from cellkin.indexer.spaces.text import FittedText, fit_text
from cellkin.space.arrays import CsrMatrix, Float32Matrix, Int32Vector, Int64Vector
from cellkin.space.expression import ExpressionColumns, place_expression
from cellkin.space.projection import CellSpace, gene_columns, place_means, weighted_means
from cellkin.space.readout import Placed, Readout, foreign_limit, neighbor_vectors, read_labels
from cellkin.space.recipe import Recipe
from cellkin.store.store import GeneEmbedding
from cellkin.wire.errors import GenesUnmatchedError
from cellkin.wire.terms import BACKGROUND_CELLS, ENOUGH_SHARED, UnknownReason


@dataclass(frozen=True)
class SpaceMethod:
    """A space of a cell index, or the choice between both; a `baselines.Baseline`.

    Genes are named by their NCBI GeneIDs, as strings.

    Parameters
    ----------
    name
        What reports call it.
    embedding
        The gene vectors, None for expression alone.
    recipe
        Of the text space.
    expression
        Whether expression is used where genes are shared.
    mlp
        Whether an MLP refines the text space, whose recipe then has no head.
    calibrated
        Whether probabilities and novelty are calibrated by holding cells out, as an index does.
    """

    name: str
    embedding: GeneEmbedding | None = None
    recipe: Recipe | None = None
    expression: bool = True
    mlp: bool = False
    calibrated: bool = True

    def fit(
        self,
        counts: CsrMatrix,
        genes: Sequence[str],
        labels: Int32Vector,
        batches: Int32Vector | None = None,
    ) -> "FittedMethod":
        """Fit to a reference; see `Baseline.fit`."""
        check_reference(counts, genes, labels)
        ids = np.array(genes, np.int64)
        order = np.argsort(ids)
        codes, own = np.unique(labels, return_inverse=True)
        given = np.zeros(len(labels), np.int32) if batches is None else batches
        _, batch = np.unique(given, return_inverse=True)
        sample = Sample(
            sp.csr_matrix(counts, dtype=np.float32)[:, order],
            ids[order],
            own.astype(np.int32),
            [str(code) for code in codes],
            batch.astype(np.int32),
        )
        expression = self._expression(sample) if self.expression else None
        text = self._text(sample) if self.embedding is not None else None
        return FittedMethod(codes.astype(np.int32), sample, text, expression)

    def _expression(self, sample: Sample) -> "_Space[FittedExpression]":
        fitted = fit_expression(sample)
        return self._read(sample, fitted, fit_expression, True)

    def _text(self, sample: Sample) -> "_Space[FittedText]":
        space = unfitted_text(self.embedding, self.recipe, sample)
        fit = fit_mlp_text if self.mlp else fit_text

        def refit(part: Sample) -> FittedSpace:
            return fit(space, part, carry=False)

        return self._read(sample, fit(space, sample), refit, False)

    def _read(self, sample: Sample, fitted: "Kind", fit: FitSpace, refine: bool) -> "_Space[Kind]":
        how = Votes()
        z = fitted.place(sample.cells).z
        readout, own = with_novelty(draft(fitted, sample, z, how, refine), z, sample)
        if self.calibrated and sample.n_labels > 1:
            held = hold_out(sample, fit, how, refine)
            if len(held.truth):
                readout, _ = calibrate(readout, held, own, sample.counts(), how)
        return _Space(fitted, neighbor_vectors(z, readout.n_components), readout)


def unfitted_text(
    embedding: GeneEmbedding | None, recipe: Recipe | None, sample: Sample
) -> CellSpace:
    """Return a text space but for what depends on labels."""
    if embedding is None or recipe is None:
        raise TypeError("a text space needs gene vectors and a recipe")
    n = len(embedding.gene_ids)
    rows = np.searchsorted(embedding.gene_ids, sample.gene_ids)
    met = embedding.gene_ids[np.minimum(rows, n - 1)] == sample.gene_ids
    rows = rows[met]
    detected, mass = np.zeros(n, np.int64), np.zeros(n)
    detected[rows] = np.asarray((sample.cells > 0).sum(axis=0)).ravel()[met]
    mass[rows] = np.asarray(sample.cells.sum(axis=0)).ravel()[met]
    measured = np.zeros(n, bool)
    measured[rows] = True
    n_cells = np.where(measured, sample.n_cells, 0)
    return fit_space(
        recipe, embedding, np.arange(n), GeneStatistics(n_cells, detected, mass, measured)
    )


Kind = TypeVar("Kind", FittedText, FittedExpression)


@dataclass(frozen=True)
class _Space(Generic[Kind]):
    fitted: Kind
    reference: Float32Matrix
    readout: Readout


@dataclass(frozen=True)
class FittedMethod:
    """Fitted spaces of a reference."""

    codes: Int32Vector
    sample: Sample
    text: _Space[FittedText] | None
    expression: _Space[FittedExpression] | None

    def predict(self, counts: CsrMatrix, genes: Sequence[str]) -> Answer:
        """Label cells as a server does; see `baselines.Fitted.predict`."""
        ids = np.array(genes, np.int64)
        counts = sp.csr_matrix(counts, dtype=np.float32)
        shared = 0.0
        if self.expression is not None:
            space = self.expression.fitted.space
            rows = space.rows_of(ids)
            shared = float(space.shares[np.unique(rows[rows >= 0])].sum(dtype=np.float64))
        if self.expression is not None and (shared >= ENOUGH_SHARED or self.text is None):
            if not shared:
                raise GenesUnmatchedError("no gene is shared", {})
            placed = place_expression(counts, ExpressionColumns.of(rows), space)
            return self._answer(placed, self.expression)
        if self.text is None:
            raise GenesUnmatchedError("no gene is shared", {})
        foreign = self._share_of(ids) < ENOUGH_SHARED
        placed = _place_text(self.text.fitted, counts, ids, foreign)
        return self._answer(placed, self.text, foreign)

    def _share_of(self, ids: Int64Vector) -> float:
        totals = np.asarray(self.sample.cells.sum(axis=0)).ravel()
        return float(totals[np.isin(self.sample.gene_ids, ids)].sum() / totals.sum())

    def _answer(self, placed: Placed, space: _Space[Kind], foreign: bool = False) -> Answer:
        readout = space.readout
        compared = neighbor_vectors(placed.z, readout.n_components)
        similarities, rows = nearest(compared, space.reference, readout.n_neighbors)
        labels = read_labels(
            placed, similarities, self.sample.labels[rows], self.sample.counts(), readout
        )
        calibrated = np.isfinite(readout.novelty_limit)
        too_far = labels.reasons == UnknownReason.TOO_FAR
        if foreign:
            some = labels.novelties[~placed.empty]
            enough = len(some) >= BACKGROUND_CELLS
            limit = foreign_limit(readout.novelty_limit, some) if enough else np.inf
            too_far = labels.novelties > limit
        winners = np.where(labels.winners >= 0, self.codes[labels.winners], -1)
        unknown = too_far | (labels.reasons == UnknownReason.NO_GENE_MATCHED)
        return Answer(
            winners.astype(np.int32),
            labels.probabilities if calibrated else None,
            labels.novelties if calibrated else None,
            unknown if calibrated else None,
        )


def _place_text(fitted: FittedText, counts: CsrMatrix, ids: Int64Vector, foreign: bool) -> Placed:
    space = fitted.space
    columns = gene_columns(space.rows_of(ids), len(space.gene_ids))
    means, empty = weighted_means(counts, columns, space)
    if foreign and space.recipe.centered and (~empty).sum() >= BACKGROUND_CELLS:
        own = means[~empty].mean(axis=0, dtype=np.float64).astype(np.float32)
        space = replace(space, center=own)
    return fitted.finish(place_means(means, space), empty)
