"""Cells as they come in messages: a CSR matrix over the header's genes."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from cellkin.server.limits import MOST_CELLS
from cellkin.server.loading import LoadedIndex
from cellkin.space.arrays import BoolVector, CsrMatrix, Float32Matrix
from cellkin.space.matching import match_genes
from cellkin.space.projection import GeneColumns, gene_columns, linear_expression, project
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.match import GeneMatch
from cellkin.wire.terms import ExpressionUnits

# Sums over all genes of a cell stay within single precision.
_MOST_LINEAR = 1e30
_MOST_LOG = 60.0


class CellReader:
    """Reads the cells of a query into the cell space of an index; its genes are matched once.

    Parameters
    ----------
    loaded
        The index.
    genes
        Names of the columns.
    taxon
        NCBI taxonomy id of the cells; 0 infers it.
    units
        A number of `ExpressionUnits`.
    field
        Where in the request these are, for errors.

    Raises
    ------
    InvalidArgumentError
        If the units are not given.
    GenesUnmatchedError
        If too few genes match.
    """

    def __init__(
        self, loaded: LoadedIndex, genes: Sequence[str], taxon: int, units: int, field: str
    ) -> None:
        if units not in tuple(ExpressionUnits):
            raise InvalidArgumentError(
                "units are not given; say whether values are linear or log1p",
                field=f"{field}.units",
            )
        if taxon < 0:
            raise InvalidArgumentError(f"taxon is {taxon}; give 0 or more", field=f"{field}.taxon")
        self._log = units == ExpressionUnits.LOG1P
        self._space = loaded.index.space
        names = loaded.genes
        resolution = names.resolver.resolve(genes, taxon)
        self.match: GeneMatch
        self.match, rows = match_genes(resolution, names.gene_ids, names.rungs, self._space)
        self.match.require_enough(genes)
        self.columns: GeneColumns = gene_columns(rows, len(self._space.gene_ids))

    def read(self, block: wire.CellBlock) -> CsrMatrix:
        """Return the (n_cells, n_genes) CSR float32 linear expression of a block."""
        cells = read_block(block, self.match.n_given)
        most = _MOST_LOG if self._log else _MOST_LINEAR
        if cells.nnz and cells.data.max() > most:
            raise InvalidArgumentError(
                f"values up to {cells.data.max():g}; no expression is above {most:g} in these "
                "units, check which they are",
                field="cells.values",
            )
        return linear_expression(cells) if self._log else cells

    def place(self, block: wire.CellBlock) -> tuple[Float32Matrix, BoolVector]:
        """Return the (n_cells, dim) float32 unit rows of a block, and which cells have none."""
        return project(self.read(block), self.columns, self._space)


def read_block(block: wire.CellBlock, n_genes: int) -> CsrMatrix:
    """Read a block of cells.

    Parameters
    ----------
    block
        As it was sent.
    n_genes
        Genes of the header.

    Raises
    ------
    InvalidArgumentError
        If it is no CSR matrix of so many columns, or its values are no expression.
    """
    indptr = codec.decode(block.indptr, np.int64, "indptr")
    columns = codec.decode(block.columns, np.int32, "columns")
    values = codec.decode(block.values, np.float32, "values")
    n_cells = len(indptr) - 1
    if not 0 <= n_cells <= MOST_CELLS:
        raise InvalidArgumentError(
            f"a block of {n_cells} cells; send 0 to {MOST_CELLS}, with one more indptr than cells",
            {"limit": str(MOST_CELLS)},
            field="cells.indptr",
        )
    if indptr[0] != 0 or indptr[-1] != len(values) or (np.diff(indptr) < 0).any():
        raise InvalidArgumentError(
            f"indptr must ascend from 0 to the number of values, {len(values)}",
            field="cells.indptr",
        )
    if len(columns) != len(values):
        raise InvalidArgumentError(
            f"{len(columns)} columns for {len(values)} values; give one each",
            field="cells.columns",
        )
    if len(columns) and not 0 <= columns.min() <= columns.max() < n_genes:
        raise InvalidArgumentError(
            f"columns from {columns.min()} to {columns.max()}; "
            f"the header has genes 0 to {n_genes - 1}",
            field="cells.columns",
        )
    if not np.isfinite(values).all() or (values < 0).any():
        raise InvalidArgumentError(
            "values must be finite and not negative; give counts or log1p of counts",
            field="cells.values",
        )
    return sp.csr_matrix((values, columns, indptr), shape=(n_cells, n_genes))
