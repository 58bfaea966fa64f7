"""One query for labels: from the genes and cells of its messages to the predictions in its answers."""

from importlib.metadata import version

import numpy as np
import scipy.sparse as sp

from cellkin.server.library import Library
from cellkin.space.arrays import CsrMatrix
from cellkin.space.matching import match_genes
from cellkin.space.projection import gene_columns, linear_expression, project
from cellkin.space.votes import vote
from cellkin.store.catalog import Entry
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.v1 import versions_pb2
from cellkin.wire import codec
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.match import GeneMatch
from cellkin.wire.names import parse_version_name
from cellkin.wire.terms import ExpressionUnits

_MAX_BLOCK_CELLS = 4096


class PredictionQuery:
    """One query: its genes matched once, its blocks answered one by one."""

    def __init__(self, library: Library, header: wire.QueryHeader) -> None:
        self._loaded = library.index(parse_version_name(header.index, "cell index"))
        space = self._loaded.index.space
        if int(header.units) not in tuple(ExpressionUnits):
            raise InvalidArgumentError(
                "units are not given; say whether values are linear or log1p"
            )
        self._log = int(header.units) == ExpressionUnits.LOG1P
        self._min_support = (
            header.min_support if header.HasField("min_support") else space.recipe.min_support
        )
        if not 0 < self._min_support <= 1:
            raise InvalidArgumentError(
                f"min_support is {self._min_support:g}; give a share of the vote in (0, 1]"
            )
        self._return_vectors = header.return_vectors
        genes = self._loaded.genes
        resolution = genes.resolver.resolve(header.genes, header.taxon)
        self._match, rows = match_genes(resolution, genes.gene_ids, genes.rungs, space)
        self._match.require_enough(header.genes)
        self._columns = gene_columns(rows, len(space.gene_ids))

    def report(self) -> wire.QueryReport:
        """Say what the query met."""
        loaded = self._loaded
        return wire.QueryReport(
            versions=index_versions(loaded.entry),
            recipe=loaded.index.space.recipe.name,
            labels=loaded.index.cells.label_names,
            genes=_match_message(self._match),
            min_support=self._min_support,
            k=loaded.index.space.recipe.k,
        )

    def predict(self, block: wire.CellBlock) -> wire.PredictionBlock:
        """Label a block of cells."""
        index = self._loaded.index
        recipe = index.space.recipe
        cells = _read_block(block, self._match.n_given)
        z, empty = project(
            linear_expression(cells) if self._log else cells, self._columns, index.space
        )
        similarities, neighbors = index.neighbors.search(z, recipe.k)
        votes = vote(
            similarities,
            index.cells.labels,
            neighbors,
            len(index.cells.label_names),
            empty,
            recipe.vote_epsilon,
            self._min_support,
        )
        return wire.PredictionBlock(
            winners=codec.encode(votes.winners),
            supports=codec.encode(votes.supports),
            n_votes=codec.encode(votes.n_votes),
            unknown_reasons=codec.encode(votes.reasons),
            vectors=codec.encode(z) if self._return_vectors else b"",
            dim=z.shape[1] if self._return_vectors else 0,
        )


def _read_block(block: wire.CellBlock, n_genes: int) -> CsrMatrix:
    indptr = codec.decode(block.indptr, np.int64, "indptr")
    columns = codec.decode(block.columns, np.int32, "columns")
    values = codec.decode(block.values, np.float32, "values")
    n_cells = len(indptr) - 1
    if not 0 <= n_cells <= _MAX_BLOCK_CELLS:
        raise InvalidArgumentError(
            f"a block of {n_cells} cells; send 0 to {_MAX_BLOCK_CELLS}, "
            "with one more indptr than cells"
        )
    if indptr[0] != 0 or indptr[-1] != len(values) or (np.diff(indptr) < 0).any():
        raise InvalidArgumentError(
            f"indptr must ascend from 0 to the number of values, {len(values)}"
        )
    if len(columns) != len(values):
        raise InvalidArgumentError(
            f"{len(columns)} columns for {len(values)} values; give one each"
        )
    if len(columns) and not 0 <= columns.min() <= columns.max() < n_genes:
        raise InvalidArgumentError(
            f"columns from {columns.min()} to {columns.max()}; "
            f"the header has genes 0 to {n_genes - 1}"
        )
    if not np.isfinite(values).all() or (values < 0).any():
        raise InvalidArgumentError(
            "values must be finite and not negative; give counts or log1p of counts"
        )
    return sp.csr_matrix((values, columns, indptr), shape=(n_cells, n_genes))


def _match_message(match: GeneMatch) -> wire.GeneMatch:
    return wire.GeneMatch(
        taxon=match.taxon,
        taxon_inferred=match.taxon_inferred,
        gene_ids=codec.encode(match.gene_ids),
        routes=codec.encode(match.routes),
        rungs=codec.encode(match.rungs),
        in_space=codec.encode(match.in_space),
    )


def index_versions(entry: Entry) -> versions_pb2.Versions:
    """Name what a cell index was made from."""
    return versions_pb2.Versions(
        index=entry.full_name,
        space_digest=entry.manifest["files"]["space.safetensors"],
        embedding=entry.manifest["embedding"],
        corpus=entry.manifest["corpus"],
        server=version("cellkin"),
    )
