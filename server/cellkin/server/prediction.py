"""Convert prediction requests and responses; a `Labeler` does the labeling."""

from copy import copy

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cellkin.server.answer_warnings import index_warnings, query_warnings
from cellkin.server.blocks import CellReader
from cellkin.server.layouts import require_layout
from cellkin.server.limits import MOST_GENES, MOST_NAMED, check_names
from cellkin.server.loading import LoadedIndex
from cellkin.server.messages import index_versions, match_message
from cellkin.server.spaces import require_known, space_kind, space_name
from cellkin.server.version_cache import VersionCache
from cellkin.space.arrays import BoolVector
from cellkin.space.classifier import Placed, neighbor_vectors
from cellkin.space.hierarchy import Hierarchy
from cellkin.space.labeler import Labeler, Options, runners_up
from cellkin.space.routes import route_shares
from cellkin.space.sample_check import SampleCheck
from cellkin.store.catalog import CatalogView
from cellkin.store.cell_index import EXPRESSION, TEXT
from cellkin.store.quality import SpaceQuality, read_qualities
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.names import parse_version_name
from cellkin.wire.terms import BACKGROUND_CELLS, Center, UnknownReason

_MOST_LISTED = 20
_VERDICTS = {
    True: wire.SAMPLE_VERDICT_BELONGS,
    False: wire.SAMPLE_VERDICT_FOREIGN,
    None: wire.SAMPLE_VERDICT_UNDECIDED,
}


class _Prepared:
    """What queries with one header share: genes, a labeler, and the report for a catalog.

    Raises
    ------
    CellkinError
        As for `PredictionQuery`.
    """

    def __init__(self, loaded: LoadedIndex, header: wire.QueryHeader) -> None:
        require_known(wire.Center, header.center, "center")
        check_names(header.exclude_batches, MOST_NAMED, "header.exclude_batches")
        check_names(header.genes, MOST_GENES, "header.genes")
        self.reader = CellReader(loaded, header.genes, header.taxon, header.units, "header")
        options = _options(loaded, header)
        self.labeler = Labeler(loaded.reference, self.reader.match.gene_ids, options)
        self.hierarchy = Hierarchy.of(loaded.index.cells.label_names)
        self.reported: tuple[CatalogView | None, wire.QueryReport | None] = None, None


class PredictionQuery:
    """One prediction query: genes are matched once, then blocks are labeled one by one.

    Parameters
    ----------
    version_cache
        The loaded versions.
    header
        The index, genes and options of the query.

    Raises
    ------
    NotFoundError
        If the index does not exist.
    InvalidArgumentError
        If an option is out of range, or a batch to exclude is not in the reference.
    GenesUnmatchedError
        If too few genes match.
    FailedPreconditionError
        If the index does not have the space, or shares no gene with the query in it; or positions
        are requested and it has no layout.
    """

    def __init__(self, version_cache: VersionCache, header: wire.QueryHeader) -> None:
        self._view = version_cache.view
        self._loaded = version_cache.index(parse_version_name(header.index, "cell index"))
        prepared = self._loaded.prepared.get(_Prepared, self._loaded, header)
        self._prepared: _Prepared | None = prepared
        self._reader = prepared.reader
        self._labeler = copy(prepared.labeler)  # a background is of this query alone
        self._hierarchy = prepared.hierarchy
        self._return_vectors = header.return_vectors
        self._return_probabilities = header.return_probabilities
        self._layout = require_layout(self._loaded) if header.return_positions else None

    @property
    def wants_background(self) -> bool:
        """Whether a background should be sent before any cell is labeled."""
        return self._labeler.background_cells > 0

    @property
    def requires_background(self) -> bool:
        """Whether no cell can be labeled before a background is sent."""
        return self._labeler.requires_background

    def report(self) -> wire.QueryReport:
        """Return the report of the query."""
        if self._prepared is None:
            return self._new_report()
        view, report = self._prepared.reported
        if report is None or view is not self._view:
            report = self._new_report()
            self._prepared.reported = self._view, report
        return report

    def _new_report(self) -> wire.QueryReport:
        loaded, labeler = self._loaded, self._labeler
        text = loaded.index.text if labeler.space == TEXT else None
        quality = read_qualities(loaded.entry.manifest).get(labeler.space)
        known = quality is not None and not labeler.foreign
        check = labeler.sample_check
        return wire.QueryReport(
            versions=index_versions(loaded.entry),
            recipe=text.space.recipe.name if text is not None else EXPRESSION,
            labels=loaded.index.cells.label_names,
            genes=match_message(self._reader.match),
            min_probability=labeler.classifier.min_probability,
            k=labeler.classifier.k,
            space=space_kind(labeler.space),
            shared_expression=labeler.shared_expression,
            center=wire.Center.ValueType(labeler.center),
            novelty_limit=labeler.novelty_limit,
            calibration_error=quality.calibration_error if quality and known else 0.0,
            ancestors=self._hierarchy.ancestors,
            foreign=labeler.foreign,
            background_cells=labeler.background_cells,
            warnings=[
                *query_warnings(labeler),
                *index_warnings(self._view, loaded.entry, labeler.space),
            ],
            sample_check=None if check is None else self._check_message(check),
            reference_depth=_depth_message(labeler, quality),
            reads_compact_blocks=True,
        )

    def _check_message(self, check: SampleCheck) -> wire.SampleCheck:
        names = self._loaded.index.cells.label_names
        return wire.SampleCheck(
            verdict=_VERDICTS[check.belongs],
            n_cells=check.n_cells,
            n_genes=check.n_genes,
            confirmed_share=check.confirmed_share,
            labels=[
                wire.LabelCheck(
                    label=names[found.label],
                    n_cells=found.n_cells,
                    similarity=found.similarity,
                    confirmed=found.confirmed,
                    novelty_limit=check.limits[found.label],
                )
                for found in check.labels
            ],
        )

    def set_background(self, block: wire.CellBlock) -> None:
        """Set the background cells.

        Raises
        ------
        FailedPreconditionError
            If there are too few cells.
        """
        self._prepared = None  # the report will say what the background shows
        self._labeler.set_background(self._reader.read(block))

    def predict_alone(self, block: wire.CellBlock) -> wire.PredictionBlock:
        """Label the only block of a query; if large enough, it is also the background."""
        enough = len(block.indptr) // 8 > BACKGROUND_CELLS
        if self.requires_background or (self.wants_background and enough):
            self.set_background(block)
        return self.predict(block)

    def predict(self, block: wire.CellBlock) -> wire.PredictionBlock:
        """Label a block of cells."""
        if self.requires_background:
            raise InvalidArgumentError("with CENTER_QUERY the background is sent before any cells")
        cells = self._reader.read(block)
        # Computed first, while the cells are in the CPU cache.
        shares = route_shares(cells, self._reader.match)
        placed, labels = self._labeler.label(cells)
        unsure = labels.reasons == UnknownReason.LOW_PROBABILITY
        fallbacks = self._hierarchy.fall_back(labels.by_label, unsure, labels.least)
        second, second_probabilities = runners_up(labels.by_label, labels.winners)
        every = labels.by_label.astype(np.float32) if self._return_probabilities else None
        return wire.PredictionBlock(
            winners=codec.encode(labels.winners),
            supports=codec.encode(labels.supports),
            n_votes=codec.encode(labels.n_votes),
            unknown_reasons=codec.encode(labels.reasons),
            vectors=codec.encode(placed.z) if self._return_vectors else b"",
            dim=placed.z.shape[1] if self._return_vectors else 0,
            probabilities=codec.encode(labels.probabilities),
            novelties=codec.encode(labels.novelties),
            fallbacks=codec.encode(fallbacks),
            route_shares=codec.encode(shares),
            runners_up=codec.encode(second),
            runner_up_probabilities=codec.encode(second_probabilities),
            label_probabilities=b"" if every is None else codec.encode(every),
            positions=self._positions(placed),
        )

    def _positions(self, placed: Placed) -> bytes:
        if self._layout is None:
            return b""
        compared = neighbor_vectors(placed.z, self._labeler.classifier.n_components)
        return codec.encode(self._layout.place(compared, self._labeler.space))


def _depth_message(labeler: Labeler, quality: SpaceQuality | None) -> wire.ReferenceDepth | None:
    if labeler.coverage is None:
        return None
    return wire.ReferenceDepth(
        expected_genes=labeler.coverage.expected,
        costs=[
            wire.DepthCost(
                at_least=cost.at_least,
                below=cost.below,
                n_cells=cost.n_cells,
                wrong=cost.wrong,
                unknown=cost.unknown,
            )
            for cost in (quality.depth_costs if quality else ())
        ],
    )


def _options(loaded: LoadedIndex, header: wire.QueryHeader) -> Options:
    strictness = header.WhichOneof("strictness")
    return Options(
        space=space_name(header.space),
        center=Center(header.center),
        min_probability=header.min_probability if header.HasField("min_probability") else None,
        novelty_limit=header.novelty_limit if strictness == "novelty_limit" else None,
        false_alarms=header.false_alarms if strictness == "false_alarms" else None,
        passing=_passing(loaded, list(header.exclude_batches)),
    )


def _passing(loaded: LoadedIndex, excluded: list[str]) -> BoolVector | None:
    """Return the mask of reference cells that vote, or None for all."""
    if not excluded:
        return None
    batches = loaded.index.cells.batches
    out = pc.is_in(batches, value_set=pa.array(excluded, pa.string()))
    met = set(batches.filter(out).unique().to_pylist())
    lost = [batch for batch in excluded if batch not in met]
    if lost:
        there = sorted(batches.unique().to_pylist())
        listed = ", ".join(there[:_MOST_LISTED]) + (", ..." if len(there) > _MOST_LISTED else "")
        raise InvalidArgumentError(
            f"{loaded.entry.full_name} has no batch {lost[0]!r}; "
            + (f"it has {listed}" if there != [""] else "it was made without batches"),
            {"batch": lost[0]},
            field="header.exclude_batches",
        )
    passing: BoolVector = ~np.asarray(out.to_numpy())
    if not passing.any():
        raise InvalidArgumentError(
            f"all cells of {loaded.entry.full_name} are of the batches to exclude, so none is left "
            "to vote; exclude fewer",
            field="header.exclude_batches",
        )
    return passing
