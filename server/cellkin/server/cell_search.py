"""Search for the nearest reference cells, with filters, excluded batches or exactly."""

from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cellkin.server import calls
from cellkin.server.blocks import CellReader
from cellkin.server.limits import MOST_GENES, MOST_NAMED, check_names, read_vectors, wanted
from cellkin.server.loading import LoadedIndex
from cellkin.server.messages import index_versions, match_message
from cellkin.server.searching import DirectSearch
from cellkin.server.spaces import space_kind, space_name
from cellkin.server.version_cache import VersionCache
from cellkin.space.arrays import BoolVector, Float32Matrix, Int64Vector
from cellkin.space.classifier import neighbor_vectors
from cellkin.space.expression import ExpressionPlacer
from cellkin.space.shared_genes import SharedGenes
from cellkin.store.cell_index import EXPRESSION, TEXT, ReferenceCells
from cellkin.store.neighbor_search import Found
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.v1 import versions_pb2
from cellkin.wire.errors import InvalidArgumentError, NotFoundError
from cellkin.wire.names import parse_version_name

_DEFAULT_K = 10
_MOST_VALUES = 10_000
_MOST_FILTERS = 16
_MOST_HITS = 400_000
"""Most hits of one response, so that it fits in a message."""
_FRAMING_BYTES = 16
_FEW = 20_000
"""If at most this many cells pass the filter, exact search is faster than the index."""


class CellSearch:
    """A search of one index version, for any number of blocks of queries.

    Parameters
    ----------
    version_cache
        The loaded versions.
    max_k
        Largest k allowed.
    header
        The index and the options of the search.
    """

    def __init__(self, version_cache: VersionCache, max_k: int, header: wire.SearchHeader) -> None:
        self._k = wanted(header.k, _DEFAULT_K, max_k, "header.k")
        self._loaded = version_cache.index(parse_version_name(header.index, "cell index"))
        self._exact = header.exact
        matched, self._passing = self._loaded.prepared.get(_prepare, self._loaded, header)
        space = space_name(header.space)
        self._reader = None
        index, reference = self._loaded.index, self._loaded.reference
        self._expression = None
        if matched is not None:
            self._reader, self._placer = matched
            if self._placer is not None:
                self._expression = index.expression
        elif space == EXPRESSION or (space is None and index.text is None):
            reference.require_expression()
            self._expression = index.expression
        else:
            reference.require_text()
        self._neighbors = index.parts[self._space_name].neighbors
        self._vectors = self._loaded.vectors[self._space_name]
        self._compares_all = self._neighbors.exact

    def versions(self) -> versions_pb2.Versions:
        """Return the versions that the responses are made from."""
        return index_versions(self._loaded.entry)

    @property
    def space(self) -> "wire.SpaceKind.ValueType":
        """The space that is searched."""
        return space_kind(self._space_name)

    @property
    def _space_name(self) -> str:
        return TEXT if self._expression is None else EXPRESSION

    @property
    def brief_bytes(self) -> int:
        """Size of a message with one vector if that is searched in a moment; else 0."""
        plain = self._reader is None and self._passing is None
        if not plain or not isinstance(self._neighbors, DirectSearch):
            return 0
        return 4 * self._loaded.index.parts[self._space_name].space.dim + _FRAMING_BYTES

    def match(self) -> wire.GeneMatch | None:
        """Return the match report of the genes, or None if the header has no genes."""
        return match_message(self._reader.match) if self._reader else None

    def hits(self, queries: wire.SearchQueries) -> wire.CellHits:
        """Find the nearest cells of a block of queries."""
        z, empty = self._place(queries)
        if len(z) * self._k > _MOST_HITS:
            raise InvalidArgumentError(
                f"{len(z)} queries with k {self._k} may have {len(z) * self._k} hits; "
                f"ask for at most {_MOST_HITS} in one message",
                {"limit": str(_MOST_HITS)},
                field="queries",
            )
        batches = queries.exclude_batches
        if batches and len(batches) != len(z):
            raise InvalidArgumentError(
                f"{len(batches)} batches to exclude for {len(z)} queries; give none or one each",
                field="queries.exclude_batches",
            )
        if len(z) and not batches and (empty is None or not empty.any()):
            return _message(self._loaded, *self._search(z, self._passing))
        searched = np.ones(len(z), bool) if empty is None else ~empty
        similarities = np.full((len(z), self._k), -np.inf, np.float32)
        ids = np.full((len(z), self._k), -1, np.int64)
        for batch in sorted(set(batches)) or [""]:
            same = np.array([b == batch for b in batches]) if batches else np.ones(len(z), bool)
            rows = np.flatnonzero(same & searched)
            if len(rows):
                calls.check()
                similarities[rows], ids[rows] = self._search(z[rows], self._without(batch))
        return _message(self._loaded, similarities, ids)

    def _place(self, queries: wire.SearchQueries) -> tuple[Float32Matrix, BoolVector | None]:
        """Return query vectors and a mask of zero vectors (None if there are none)."""
        kind = queries.WhichOneof("queries")
        if kind == "vectors":
            dim = self._loaded.index.parts[self._space_name].space.dim
            z = read_vectors(queries.vectors, dim, "queries.vectors")
            return self._compared(z), None
        if kind == "cells" and self._reader is not None:
            if self._placer is None:
                return self._reader.place(queries.cells)
            placed = self._placer.place(self._reader.read(queries.cells))
            return self._compared(placed.z), placed.empty
        if kind == "cells":
            raise InvalidArgumentError(
                "cells are given and the header has no genes; name the columns of the matrix",
                field="header.genes",
            )
        raise InvalidArgumentError("no queries are given; give vectors or cells", field="queries")

    def _compared(self, z: Float32Matrix) -> Float32Matrix:
        """Return the vectors as the neighbor index takes them."""
        if self._expression is None:
            return z
        return neighbor_vectors(z, self._expression.classifier.n_components)

    def _search(self, z: Float32Matrix, passing: BoolVector | None) -> Found:
        few = passing is not None and int(passing.sum()) <= _FEW
        if not self._compares_all and (self._exact or few):
            return self._loaded.search_exactly(self._vectors, z, self._k, passing)
        return self._neighbors.search(z, self._k, passing)

    def _without(self, batch: str) -> BoolVector | None:
        if not batch:
            return self._passing
        others: BoolVector = pc.not_equal(self._loaded.index.cells.batches, batch).to_numpy()
        return others if self._passing is None else others & self._passing


def _prepare(
    loaded: LoadedIndex, header: wire.SearchHeader
) -> tuple[tuple[CellReader, ExpressionPlacer | None] | None, BoolVector | None]:
    """Match the genes of a search, if it has any, and mark the cells that pass its filters.

    The placer is None if cells are placed in the text space.
    """
    check_names(header.genes, MOST_GENES, "header.genes")
    if len(header.filters) > _MOST_FILTERS:
        raise InvalidArgumentError(
            f"{len(header.filters)} filters; give at most {_MOST_FILTERS}",
            field="header.filters",
        )
    cells = loaded.index.cells
    masks = [_passing(cells, f, f"header.filters[{i}]") for i, f in enumerate(header.filters)]
    passing = reduce(np.logical_and, masks) if masks else None
    if not header.genes:
        return None, passing
    reader = CellReader(loaded, header.genes, header.taxon, int(header.units), "header")
    shared = SharedGenes.of(loaded.reference, reader.match.gene_ids)
    part = shared.choose(loaded.reference, space_name(header.space))
    placer = None if part is None else ExpressionPlacer(shared.columns, part.space)
    return (reader, placer), passing


def _passing(cells: ReferenceCells, wanted_cells: wire.CellFilter, field: str) -> BoolVector:
    values = list(wanted_cells.values)
    if len(values) > _MOST_VALUES:
        raise InvalidArgumentError(
            f"{len(values)} values in {field}; give at most {_MOST_VALUES}", field=field
        )
    if wanted_cells.column == "label":
        codes = [code for code, name in enumerate(cells.label_names) if name in set(values)]
        passing = np.isin(cells.labels, codes)
    elif wanted_cells.column in ("batch", "id"):
        column = cells.batches if wanted_cells.column == "batch" else cells.ids
        passing = pc.is_in(column, value_set=pa.array(values, pa.string())).to_numpy()
    else:
        raise InvalidArgumentError(
            f"the reference has no column {wanted_cells.column!r}; filter by label, batch or id",
            field=f"{field}.column",
        )
    return ~passing if wanted_cells.exclude else passing


def _message(loaded: LoadedIndex, similarities: Float32Matrix, ids: Int64Vector) -> wire.CellHits:
    cells = loaded.index.cells
    there = ids >= 0
    if there.all():
        counts, rows, hits = [ids.shape[1]] * len(ids), ids.reshape(-1), similarities.reshape(-1)
    else:
        counts, rows, hits = there.sum(axis=1).tolist(), ids[there], similarities[there]
    names = cells.label_names
    return wire.CellHits(
        counts=counts,
        cell_ids=loaded.ids.at(rows),
        labels=[names[code] for code in cells.labels[rows].tolist()],
        batches=loaded.batches.at(rows),
        similarities=hits.tolist(),
        rows=rows.tolist(),
    )


def get_cells(version_cache: VersionCache, request: wire.GetCellsRequest) -> wire.GetCellsResponse:
    """Return reference cells by id or row.

    Raises
    ------
    NotFoundError
        If the index lacks one of them.
    InvalidArgumentError
        If there are too many, or ids and rows.
    """
    check_names(request.cell_ids, MOST_NAMED, "cell_ids")
    wanted(len(request.rows), 0, MOST_NAMED, "rows")
    if request.cell_ids and request.rows:
        raise InvalidArgumentError("cell_ids and rows are given; give one of them", field="rows")
    loaded = version_cache.index(parse_version_name(request.index, "cell index"))
    cells = loaded.index.cells
    rows = _given_rows(loaded, request) if request.rows else _named_rows(loaded, request)
    ascending, place = np.unique(rows, return_inverse=True)
    vectors = None
    if request.return_vectors and len(rows):
        space = next(iter(loaded.index.parts))
        vectors = loaded.vectors[space].queries(ascending)[place]
    ids, batches = loaded.ids.at(rows), loaded.batches.at(rows)
    return wire.GetCellsResponse(
        cells=[
            wire.Cell(
                cell_id=ids[at],
                label=cells.label_names[cells.labels[row]],
                batch=batches[at],
                row=row,
                vector=vectors[at].astype("<f4").tobytes() if vectors is not None else b"",
            )
            for at, row in enumerate(rows.tolist())
        ],
        versions=index_versions(loaded.entry),
    )


def _given_rows(loaded: LoadedIndex, request: wire.GetCellsRequest) -> Int64Vector:
    rows = np.array(request.rows, np.int64)
    lost = rows[(rows < 0) | (rows >= len(loaded.ids))]
    if len(lost):
        raise NotFoundError(
            f"cell index {loaded.entry.full_name} has no row {lost[0]}; it has {len(loaded.ids)}",
            {"row": str(lost[0])},
        )
    return rows


def _named_rows(loaded: LoadedIndex, request: wire.GetCellsRequest) -> Int64Vector:
    given = list(request.cell_ids)
    # The requested ids are the lookup table, so the reference's ids are scanned only once.
    met = pc.index_in(loaded.index.cells.ids, value_set=pa.array(sorted(set(given)), pa.string()))
    found = np.flatnonzero(met.is_valid().to_numpy())
    row_of = dict(zip(loaded.ids.at(found), found.tolist(), strict=True))
    lost = [name for name in given if name not in row_of]
    if lost:
        raise NotFoundError(
            f"cell index {loaded.entry.full_name} has no cell {lost[0]!r} "
            f"({len(lost)} of {len(given)} are not there)",
            {"cell_id": lost[0]},
        )
    return np.array([row_of[name] for name in given], np.int64)
