"""Methods of an evaluation that use the cell spaces of this project.

They are fitted as in `cellkin.indexer.cells.job`, and use the `Labeler` of the server.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from cellkin.indexer.cells.fit import GeneStatistics, unfitted_space
from cellkin.indexer.cells.fitting import Judging, fit_expression_part, fit_text_part
from cellkin.indexer.evaluation.baselines import Answer, check_reference
from cellkin.indexer.spaces.classifier import FittedSpace, Votes
from cellkin.indexer.spaces.foreign import fit_foreign
from cellkin.indexer.spaces.mlp import FittedMlpText, fit_mlp_text
from cellkin.indexer.spaces.sample import Sample
from cellkin.indexer.spaces.text import fit_text
from cellkin.space.arrays import CsrMatrix, Int32Vector, UInt8Vector
from cellkin.space.classifier import LabelClassifier, neighbor_vectors
from cellkin.space.labeler import Labeler
from cellkin.space.projection import CellSpace
from cellkin.space.recipe import Recipe
from cellkin.space.reference import ExpressionPart, Reference, TextPart
from cellkin.store.corpus import GeneNames
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.store import GeneEmbedding
from cellkin.wire.background import background_runs
from cellkin.wire.errors import FailedPreconditionError, GenesUnmatchedError
from cellkin.wire.terms import UnknownReason


@dataclass(frozen=True)
class TextGenes:
    """Gene embeddings and the source of each gene's text.

    Parameters
    ----------
    embedding
        The gene embeddings.
    rungs
        (n_genes,) uint8 `TextRung` of each gene, by row of the embedding.
    """

    embedding: GeneEmbedding
    rungs: UInt8Vector

    @classmethod
    def of(cls, names: GeneNames, embedding: GeneEmbedding) -> "TextGenes":
        """Look up the text sources in the corpus of an embedding."""
        return cls(embedding, names.rungs[np.searchsorted(names.gene_ids, embedding.gene_ids)])


@dataclass(frozen=True)
class SpaceMethod:
    """A text space, an expression space, or both; a `baselines.Baseline`.

    Gene names are NCBI GeneIDs, as strings.

    Parameters
    ----------
    name
        Name in reports.
    genes
        Gene embeddings; None without a text space.
    recipe
        Recipe of the text space.
    expression
        Whether there is an expression space.
    mlp
        Whether an MLP replaces the text space's linear head; the recipe then has no head.
    calibrated
        Whether probabilities and novelty are calibrated on held-out cells, as in an index.
    """

    name: str
    genes: TextGenes | None = None
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
        reference = Reference(
            self.name,
            sample.label_names,
            sample.labels,
            sample.counts(),
            self._text(sample),
            self._expression(sample) if self.expression else None,
        )
        return FittedMethod(codes.astype(np.int32), reference, self.calibrated)

    @property
    def _judging(self) -> Judging:
        return Judging.CELLS if self.calibrated else Judging.NOTHING

    def _expression(self, sample: Sample) -> ExpressionPart | None:
        if sample.n_labels < 2 and self.genes is not None:
            return None
        fitted, classifier, _ = fit_expression_part(sample, Votes(), self._judging)
        return ExpressionPart(fitted.space, _searched(fitted, sample, classifier), classifier)

    def _text(self, sample: Sample) -> TextPart | None:
        if self.genes is None:
            return None
        space = unfitted_text(self.genes, self.recipe, sample)
        fit = fit_mlp_text if self.mlp else fit_text
        fitted, classifier, _ = fit_text_part(
            space, sample, sample.counts(), Votes(), self._judging, fit
        )
        refine = fitted.mlp if isinstance(fitted, FittedMlpText) else None
        searched, foreign = _searched(fitted, sample, classifier), fit_foreign(fitted, sample)
        return TextPart(fitted.space, searched, classifier, refine, foreign)


def unfitted_text(genes: TextGenes, recipe: Recipe | None, sample: Sample) -> CellSpace:
    """Return a text space without the parts that depend on labels."""
    if recipe is None:
        raise TypeError("a text space needs a recipe")
    ids = genes.embedding.gene_ids
    n = len(ids)
    rows = np.searchsorted(ids, sample.gene_ids)
    met = ids[np.minimum(rows, n - 1)] == sample.gene_ids
    rows = rows[met]
    detected, mass = np.zeros(n, np.int64), np.zeros(n)
    detected[rows] = np.asarray((sample.cells > 0).sum(axis=0)).ravel()[met]
    mass[rows] = np.asarray(sample.cells.sum(axis=0)).ravel()[met]
    measured = np.zeros(n, bool)
    measured[rows] = True
    n_cells = np.where(measured, sample.n_cells, 0)
    statistics = GeneStatistics(n_cells, detected, mass, measured)
    return unfitted_space(recipe, genes.embedding, genes.rungs, statistics)


def _searched(fitted: FittedSpace, sample: Sample, classifier: LabelClassifier) -> NeighborIndex:
    vectors = neighbor_vectors(fitted.place(sample.cells).z, classifier.n_components)
    return NeighborIndex.build(vectors)


@dataclass(frozen=True)
class FittedMethod:
    """A fitted `SpaceMethod`.

    Parameters
    ----------
    codes
        (n_labels,) int32 code of each label of the reference.
    reference
        The reference.
    calibrated
        Whether probabilities and novelty are calibrated.
    """

    codes: Int32Vector
    reference: Reference
    calibrated: bool

    def predict(self, counts: CsrMatrix, genes: Sequence[str]) -> Answer:
        """Label cells as a server does; see `baselines.Fitted.predict`.

        ``genes`` are NCBI GeneIDs as strings. A code is -1 where no label won. An unknown cell has
        the code of its most probable label; without calibration there are codes alone.
        """
        cells = sp.csr_matrix(counts, dtype=np.float32)
        try:
            labeler = Labeler(self.reference, np.array(genes, np.int64))
        except FailedPreconditionError as error:
            raise GenesUnmatchedError(error.message, error.metadata) from error
        runs = background_runs(cells.shape[0], labeler.background_cells)
        if labeler.background_cells and runs:
            labeler.set_background(sp.vstack([cells[a:b] for a, b in runs], format="csr"))
        _, labels = labeler.label(cells)
        codes = np.where(labels.winners >= 0, self.codes[labels.winners], -1).astype(np.int32)
        if not self.calibrated:
            return Answer(codes, None, None, None)
        unknown = labels.reasons != UnknownReason.KNOWN
        return Answer(codes, labels.probabilities, labels.novelties, unknown, labels.reasons)
