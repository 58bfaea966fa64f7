"""One query for labels: from genes and cells as they come to predictions as they go."""

from dataclasses import replace

import numpy as np

from cellkin.server.blocks import CellReader
from cellkin.server.library import Library
from cellkin.server.limits import MOST_NAMED, check_names
from cellkin.server.messages import index_versions, match_message
from cellkin.server.shared_genes import SharedGenes, require_known
from cellkin.space.arrays import BoolVector, CsrMatrix, Float32Vector
from cellkin.space.expression import place_expression
from cellkin.space.hierarchy import Hierarchy
from cellkin.space.projection import place_means, weighted_means
from cellkin.space.readout import (
    Labels,
    Placed,
    Readout,
    foreign_limit,
    neighbor_vectors,
    read_labels,
)
from cellkin.space.routes import route_shares
from cellkin.store.cell_index import Neighbors
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.names import parse_version_name
from cellkin.wire.terms import BACKGROUND_CELLS, UnknownReason


class PredictionQuery:
    """One query: its genes matched once, its blocks answered one by one."""

    def __init__(self, library: Library, header: wire.QueryHeader) -> None:
        require_known(wire.SpaceKind, header.space, "space")
        require_known(wire.Center, header.center, "center")
        check_names(header.exclude_batches, MOST_NAMED, "header.exclude_batches")
        self._loaded = library.index(parse_version_name(header.index, "cell index"))
        index = self._loaded.index
        self._reader = CellReader(self._loaded, header.genes, header.taxon, header.units, "header")
        self._shared = SharedGenes.of(index, self._reader.match)
        self._expression = self._shared.choose(self._loaded, header.space)
        readout = index.readout if self._expression is None else self._expression.readout
        if header.HasField("min_probability"):
            readout = replace(readout, min_probability=header.min_probability)
        if not 0 < readout.min_probability <= 1:
            raise InvalidArgumentError(
                f"min_probability is {readout.min_probability:g}; give a number in (0, 1]",
                field="header.min_probability",
            )
        self._limit = readout.novelty_limit
        if self._expression is None and self._shared.are_foreign:
            # By what is known so far nothing can be called too far.
            readout = replace(readout, novelty_limit=np.inf)
        self._readout: Readout = readout
        self._return_vectors = header.return_vectors
        self._center = header.center or wire.CENTER_REFERENCE
        if self._center == wire.CENTER_QUERY and self._expression is not None:
            raise InvalidArgumentError(
                "the query's own mean is taken off in the text space alone; leave center unset, or "
                "ask for the text space",
                field="header.center",
            )
        self._own: Float32Vector | None = None
        self._voters = self._passing(header)
        self._counts = index.label_counts
        self._hierarchy = Hierarchy.of(index.cells.label_names)

    @property
    def wants_background(self) -> bool:
        """Whether cells are to be given by `set_background` before any is labelled."""
        return self._center == wire.CENTER_QUERY and self._own is None

    def report(self) -> wire.QueryReport:
        """Say what the query met."""
        loaded = self._loaded
        in_text = self._expression is None
        quality = loaded.entry.manifest.get("quality", {}).get("text" if in_text else "expression")
        return wire.QueryReport(
            versions=index_versions(loaded.entry),
            recipe=loaded.index.space.recipe.name if in_text else "expression",
            labels=loaded.index.cells.label_names,
            genes=match_message(self._reader.match),
            min_probability=self._readout.min_probability,
            k=self._readout.k,
            space=wire.SPACE_KIND_TEXT if in_text else wire.SPACE_KIND_EXPRESSION,
            shared_expression=self._shared.share,
            center=self._center,
            novelty_limit=self._readout.novelty_limit,
            calibration_error=(quality or {}).get("ece", 0.0),
            ancestors=self._hierarchy.ancestors,
        )

    def set_background(self, block: wire.CellBlock) -> None:
        """Take the mean of some cells, to be taken off all.

        Raises
        ------
        FailedPreconditionError
            If there are too few.
        """
        cells = self._reader.read(block)
        means, empty = self._means(cells)
        n = int((~empty).sum())
        if n < BACKGROUND_CELLS:
            raise FailedPreconditionError(
                f"the query's own mean would be that of {n} cells, and says nothing below "
                f"{BACKGROUND_CELLS}; send more, or take the reference's mean off",
                {"n_cells": str(n), "least": str(BACKGROUND_CELLS)},
            )
        self._own = means[~empty].mean(axis=0, dtype=np.float64).astype(np.float32)
        if self._shared.are_foreign:
            _, labels = self._label(cells)
            limit = foreign_limit(self._limit, labels.novelties[~empty])
            self._readout = replace(self._readout, novelty_limit=limit)

    def predict(self, block: wire.CellBlock) -> wire.PredictionBlock:
        """Label a block of cells."""
        if self.wants_background:
            raise InvalidArgumentError("with CENTER_QUERY the background is sent before any cells")
        readout = self._readout
        cells = self._reader.read(block)
        # At once, while the cells are in the processor's cache.
        shares = route_shares(cells, self._reader.match)
        placed, labels = self._label(cells)
        unsure = labels.reasons == UnknownReason.LOW_PROBABILITY
        fallbacks = self._hierarchy.fall_back(labels.by_label, unsure, readout.min_probability)
        z = placed.z
        return wire.PredictionBlock(
            winners=codec.encode(labels.winners),
            supports=codec.encode(labels.supports),
            n_votes=codec.encode(labels.n_votes),
            unknown_reasons=codec.encode(labels.reasons),
            vectors=codec.encode(z) if self._return_vectors else b"",
            dim=z.shape[1] if self._return_vectors else 0,
            probabilities=codec.encode(labels.probabilities),
            novelties=codec.encode(labels.novelties),
            fallbacks=codec.encode(fallbacks),
            route_shares=codec.encode(shares),
        )

    def _label(self, cells: CsrMatrix) -> tuple[Placed, Labels]:
        index, readout = self._loaded.index, self._readout
        placed, neighbors = self._place(cells)
        compared = neighbor_vectors(placed.z, readout.n_components)
        similarities, rows = neighbors.search(compared, readout.n_neighbors, self._voters)
        voted = np.where(rows >= 0, index.cells.labels[np.maximum(rows, 0)], -1).astype(np.int32)
        voted[placed.empty] = -1
        only_votes = self._voters is not None
        labels = read_labels(placed, similarities, voted, self._counts, readout, only_votes)
        return placed, labels

    def _passing(self, header: wire.QueryHeader) -> BoolVector | None:
        """Return which reference cells vote, None for all."""
        if not header.exclude_batches:
            return None
        batches = self._loaded.index.cells.batches.to_numpy()
        passing: BoolVector = ~np.isin(batches, list(header.exclude_batches))
        return passing

    def _place(self, cells: CsrMatrix) -> tuple[Placed, Neighbors]:
        index = self._loaded.index
        if self._expression is not None:
            placed = place_expression(cells, self._shared.columns, self._expression.space)
            return placed, self._expression.neighbors
        means, empty = self._means(cells)
        space = index.space if self._own is None else replace(index.space, center=self._own)
        z = place_means(means, space)
        z[empty] = 0
        return Placed(z, empty), index.neighbors

    def _means(self, cells: CsrMatrix) -> tuple[np.ndarray, BoolVector]:
        return weighted_means(cells, self._reader.columns, self._loaded.index.space)
