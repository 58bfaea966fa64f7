"""Label cells by a reference: the pipeline shared by the server and all evaluations.

A `Labeler` is created from a reference and the genes of a query. It chooses the space, reports
whether it needs background cells, checks a foreign sample with them, and labels cells in blocks.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cellkin.space.arrays import (
    BoolVector,
    CsrMatrix,
    Float32Matrix,
    Float32Vector,
    Int32Vector,
    Int64Vector,
)
from cellkin.space.classifier import LabelClassifier, Placed, neighbor_vectors
from cellkin.space.coverage import Coverage
from cellkin.space.expression import ExpressionPlacer
from cellkin.space.foreign import PairedSample, Reading, check_sample, limited
from cellkin.space.labels import Labels, read_labels
from cellkin.space.novelty import limit_at
from cellkin.space.projection import GeneColumns, gene_columns, place_means, weighted_means
from cellkin.space.reference import Reference
from cellkin.space.sample_check import SampleCheck
from cellkin.space.shared_genes import SharedGenes
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.terms import BACKGROUND_CELLS, Center

WANTED_CELLS = 3072
"""Number of background cells; a query with fewer contributes all of its cells."""


@dataclass(frozen=True)
class Options:
    """Options of labeling.

    Parameters
    ----------
    space
        ``text`` or ``expression``; None chooses by the shared genes.
    center
        Which mean is subtracted in the text space.
    min_probability
        Minimum probability of a label, in (0, 1]; None for the reference's.
    novelty_limit, false_alarms
        The novelty above which cells are unknown, or the share of known cells that may be called
        unknown for their novelty. Give at most one; None for the reference's limit.
    passing
        (n_cells,) bool, the reference cells that vote; votes are then the only evidence, because
        all other evidence was fitted to the excluded cells too. None for all.
    """

    space: str | None = None
    center: Center = Center.AUTO
    min_probability: float | None = None
    novelty_limit: float | None = None
    false_alarms: float | None = None
    passing: BoolVector | None = None


class Labeler:
    """Label the cells of one query.

    Parameters
    ----------
    reference
        The reference.
    gene_ids
        (n_columns,) int64 NCBI GeneIDs of the query's columns; 0 for a column without a gene.
    options
        Options; None for the defaults.

    Attributes
    ----------
    sample_check
        Whether a foreign sample belongs to the reference; None if it was not checked.

    Raises
    ------
    InvalidArgumentError
        If an option is out of range, both ``novelty_limit`` and ``false_alarms`` are given, or the
        query's mean is requested in the expression space.
    FailedPreconditionError
        If the reference lacks the requested space, or shares no gene with the query.
    """

    def __init__(
        self, reference: Reference, gene_ids: Int64Vector, options: Options | None = None
    ) -> None:
        options = options or Options()
        self._reference, self._passing = reference, options.passing
        self._shared = SharedGenes.of(reference, gene_ids)
        self._expression = self._shared.choose(reference, options.space)
        part = self._expression or reference.require_text()
        self._classifier = _with_options(part.classifier, options)
        self._unlimited = replace(self._classifier, novelty_limit=np.inf)
        self._columns: GeneColumns | None = None
        self._coverage: Coverage | None = None
        self._placer: ExpressionPlacer | None = None
        if self._expression is None:
            space = reference.require_text().space
            self._columns = gene_columns(space.rows_of(gene_ids), len(space.gene_ids))
        elif options.center is Center.QUERY:
            raise InvalidArgumentError(
                "the query's own mean is subtracted in the text space alone; leave center unset, "
                "or ask for the text space",
                field="header.center",
            )
        if self._expression is not None:
            self._placer = ExpressionPlacer(self._shared.columns, self._expression.space)
            self._coverage = Coverage.of(
                self._shared.columns, self._expression.space, self._classifier
            )
        self._wished, self._wished_limit = options.center, options.novelty_limit
        self._own: Float32Vector | None = None
        self._declined = False
        self._paired: PairedSample | None = None
        self.sample_check: SampleCheck | None = None
        self._limits = self._first_limits()

    @property
    def space(self) -> str:
        """The space in which cells are compared, ``text`` or ``expression``."""
        return "text" if self._expression is None else "expression"

    @property
    def foreign(self) -> bool:
        """Whether cells are compared by text and their genes are foreign to the reference."""
        return self._expression is None and self._shared.are_foreign

    @property
    def has_expression(self) -> bool:
        """Whether the reference has an expression space."""
        return self._reference.expression is not None

    @property
    def shared_expression(self) -> float:
        """The share of the reference's expression in genes of the query; see `SharedGenes`."""
        return self._shared.share

    @property
    def coverage(self) -> Coverage | None:
        """Coverage of the reference by the query's genes; None if it is not used."""
        return self._coverage

    @property
    def center(self) -> Center:
        """Which mean is subtracted, as far as known: the query's or the reference's."""
        wants_own = self._own is not None or self._wished is Center.QUERY
        return Center.QUERY if wants_own else Center.REFERENCE

    @property
    def classifier(self) -> LabelClassifier:
        """The classifier, with the options applied."""
        return self._classifier

    @property
    def novelty_limit(self) -> float:
        """The largest novelty limit of any label; minus infinity if no label is claimed."""
        return float(self._limits.max())

    @property
    def background_cells(self) -> int:
        """Number of cells wanted by `set_background` before labeling; 0 if none."""
        asked = self._wished is Center.QUERY or (self._wished is Center.AUTO and self.foreign)
        return WANTED_CELLS if asked and self._own is None and not self._declined else 0

    @property
    def requires_background(self) -> bool:
        """Whether a background is required before labeling: the query's mean was requested."""
        return self._wished is Center.QUERY and self._own is None

    def set_background(self, cells: CsrMatrix) -> None:
        """Set the mean to subtract from the mean of some cells, and check a foreign sample.

        With fewer than `BACKGROUND_CELLS` non-empty cells neither is done.

        Parameters
        ----------
        cells
            (n_cells, n_columns) CSR, linear expression, drawn evenly from the query.

        Raises
        ------
        FailedPreconditionError
            If there are too few cells and the query's own mean was requested.
        """
        means, empty = self._means(cells)
        n = int((~empty).sum())
        self._declined = n < BACKGROUND_CELLS
        if self._declined and self._wished is not Center.QUERY:
            return
        if self._declined:
            raise FailedPreconditionError(
                f"the query's own mean would be that of {n} cells, and says nothing below "
                f"{BACKGROUND_CELLS}; send more, or subtract the reference's mean",
                {"n_cells": str(n), "least": str(BACKGROUND_CELLS)},
            )
        self._own = means[~empty].mean(axis=0, dtype=np.float64).astype(np.float32)
        if self.foreign:
            self._check(cells)

    def label(self, cells: CsrMatrix) -> tuple[Placed, Labels]:
        """Label cells.

        Parameters
        ----------
        cells
            (n_cells, n_columns) CSR, linear expression: finite and not negative.

        Returns
        -------
        placed
            The cells in the space.
        labels
            Their labels.
        """
        reading = self._read(cells)
        # Profiles of labels include cells that do not vote.
        if self._paired is not None and self._passing is None:
            counts = self._reference.counts
            return reading.placed, self._paired.read(cells, reading, counts, self._classifier)
        return reading.placed, limited(reading.labels, self._limits)

    def _read(self, cells: CsrMatrix) -> Reading:
        """Place and label cells, without a novelty limit."""
        reference, classifier = self._reference, self._classifier
        placed = self._place(cells)
        part = self._expression or reference.require_text()
        compared = neighbor_vectors(placed.z, classifier.n_components)
        similarities, rows = part.neighbors.search(compared, classifier.n_neighbors, self._passing)
        voted = reference.labels_of(rows)
        voted[placed.empty] = -1
        only_votes = self._passing is not None
        coverage = None if self._coverage is None else self._coverage.of_cells(cells)
        labels = read_labels(
            placed, similarities, voted, reference.counts, self._unlimited, only_votes, coverage
        )
        return Reading(placed, similarities, voted, labels)

    def _check(self, cells: CsrMatrix) -> None:
        """Check a foreign sample with its background and set the novelty limits of its labels."""
        foreign = self._reference.require_text().foreign
        if foreign is None or self._columns is None:  # the first limits stay
            return
        paired = check_sample(cells, self._columns, self._read(cells), foreign, self._classifier)
        if self._wished_limit is not None:
            paired = paired.limited_to(self._wished_limit)
        self._paired, self.sample_check = paired, paired.check
        self._limits = paired.check.limits

    def _first_limits(self) -> Float32Vector:
        """Return the (n_labels,) novelty limits that hold unless a check of the sample sets others.

        Each is the classifier's limit. For a foreign query without ``novelty_limit`` it is minus
        infinity, by which every cell is unknown: all its cells are farther than the reference's
        own, and its tissue may not be the reference's.
        """
        limit = self._classifier.novelty_limit
        if self.foreign and self._wished_limit is None:
            limit = -np.inf
        return np.full(len(self._reference.label_names), limit, np.float32)

    def _place(self, cells: CsrMatrix) -> Placed:
        if self._placer is not None:
            return self._placer.place(cells)
        text = self._reference.require_text()
        means, empty = self._means(cells)
        space = text.space if self._own is None else replace(text.space, center=self._own)
        z = place_means(means, space)
        if text.refine is not None:
            z = text.refine(z)
        z[empty] = 0
        return Placed(z, empty)

    def _means(self, cells: CsrMatrix) -> tuple[Float32Matrix, BoolVector]:
        assert self._columns is not None  # of the text space
        return weighted_means(cells, self._columns, self._reference.require_text().space)


def runners_up(
    by_label: npt.NDArray[np.float64], winners: Int32Vector
) -> tuple[Int32Vector, Float32Vector]:
    """Return the second most probable label of each cell.

    Parameters
    ----------
    by_label
        (n_cells, n_labels) float64 probabilities.
    winners
        (n_cells,) int32, the most probable label; -1 for none.

    Returns
    -------
    labels
        (n_cells,) int32, ties go to the lowest; -1 for none.
    probabilities
        (n_cells,) float32; 0 for none.
    """
    if by_label.shape[1] < 2:
        return np.full(len(winners), -1, np.int32), np.zeros(len(winners), np.float32)
    rest = by_label.copy()
    rest[np.arange(len(rest)), winners] = -1
    second = rest.argmax(axis=1).astype(np.int32)
    probabilities = rest[np.arange(len(rest)), second].astype(np.float32)
    nobody = winners < 0
    second[nobody], probabilities[nobody] = -1, 0
    return second, probabilities


def _with_options(classifier: LabelClassifier, options: Options) -> LabelClassifier:
    least = (
        classifier.min_probability if options.min_probability is None else options.min_probability
    )
    if not 0 < least <= 1:
        raise InvalidArgumentError(
            f"min_probability is {least:g}; give a number in (0, 1]", field="header.min_probability"
        )
    if options.novelty_limit is not None and options.false_alarms is not None:
        raise InvalidArgumentError("novelty_limit and false_alarms are given; give one of them")
    limit = classifier.novelty_limit
    if options.false_alarms is not None:
        limit = limit_at(classifier, options.false_alarms)
    elif options.novelty_limit is not None:
        limit = options.novelty_limit
        if np.isnan(limit):
            raise InvalidArgumentError("novelty_limit is no number", field="header.novelty_limit")
    classifier = replace(classifier, min_probability=least, novelty_limit=limit)
    if options.min_probability is None:
        return classifier
    # A given min_probability replaces all other minimum probabilities.
    of_depth = np.empty((0, 0), np.float32)
    return replace(classifier, least_of_few=0.0, least_of_capped=least, least_by_depth=of_depth)
