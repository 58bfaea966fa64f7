"""Decode and validate blocks of cells, CSR matrices over the header's genes."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from cellkin.server import calls
from cellkin.server.limits import MOST_CELLS
from cellkin.server.loading import LoadedIndex
from cellkin.space.arrays import (
    BoolVector,
    CsrMatrix,
    Float32Matrix,
    Float32Vector,
    Int32Vector,
)
from cellkin.space.matching import match_reference, require_enough
from cellkin.space.projection import GeneColumns, gene_columns, linear_expression, project
from cellkin.space.reference import WITH_TEXT
from cellkin.store.corpus import is_of_own_names
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import FailedPreconditionError, GenesUnmatchedError, InvalidArgumentError
from cellkin.wire.match import GeneMatch
from cellkin.wire.species import taxon_name
from cellkin.wire.terms import ExpressionUnits, GeneRoute

# Below this, the sum over all genes of a cell does not overflow float32.
_MOST_LINEAR = 1e30
_MOST_LOG = 60.0
# Up to this share may differ in letter case: releases and R change the case of a few symbols.
_SPELLED_ALIKE = 0.5
_OWN_NAMES = (
    "Its genes are named by the reference's own files alone, without synonyms, other species or "
    "identifiers that the files lack. For cells of the same species give names as the reference "
    "has them, symbols or Ensembl ids; for others make an index with a text space, by `cellkin "
    "genes import`, `cellkin genes embed` and `cellkin cells index`"
)


class CellReader:
    """Read the cells of a query; its genes are matched once, on construction.

    Parameters
    ----------
    loaded
        The index.
    genes
        Names of the columns.
    taxon
        NCBI taxonomy id of the cells; 0 infers it.
    units
        A value of `ExpressionUnits`.
    field
        Path of these fields in the request, for error messages.

    Raises
    ------
    InvalidArgumentError
        If the units are not given or the taxon is negative.
    GenesUnmatchedError
        If too few genes match.
    FailedPreconditionError
        If the genes are known but not the reference's, and the index has no text space.
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
        self._reference = loaded.reference
        names = loaded.genes
        resolution = names.resolver.resolve(genes, taxon)
        self.match: GeneMatch = match_reference(
            resolution, names.gene_ids, names.rungs, self._reference
        )
        _require_genes(loaded, self.match, genes)

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

    @cached_property
    def columns(self) -> GeneColumns:
        """Text-space rows of the columns' genes."""
        space = self._reference.require_text().space
        return gene_columns(space.rows_of(self.match.gene_ids), len(space.gene_ids))

    def place(self, block: wire.CellBlock) -> tuple[Float32Matrix, BoolVector]:
        """Return the cell vectors of a block in the text space.

        Returns
        -------
        rows
            (n_cells, dim) float32, unit length.
        empty
            (n_cells,) bool, the cells without a vector.
        """
        return project(self.read(block), self.columns, self._reference.require_text().space)


def _require_genes(loaded: LoadedIndex, match: GeneMatch, names: Sequence[str]) -> None:
    """Raise if too few genes match, with advice on what to change."""
    own_names = is_of_own_names(loaded.corpus.entry)
    try:
        require_enough(match, names)
        if own_names:
            _require_spelling(loaded, match)
    except GenesUnmatchedError as error:
        if own_names:
            raise GenesUnmatchedError(f"{error.message}. {_OWN_NAMES}", error.metadata) from error
        if loaded.index.text is not None or match.n_matched < 2 * max(match.n_used, 1):
            raise
        # The genes are known but not the reference's: most likely another species.
        raise FailedPreconditionError(
            f"of {match.n_given} gene names {match.n_matched} are known, as genes of "
            f"{taxon_name(match.taxon)}, and {match.n_used} were measured in "
            f"{loaded.entry.full_name}, which has no text space, by which cells of other genes are "
            f"compared. {WITH_TEXT}",
            error.metadata,
        ) from error


def _require_spelling(loaded: LoadedIndex, match: GeneMatch) -> None:
    """Raise if most names match a corpus of own names only after case folding.

    Such a corpus has no other species to recognize them by: a mouse's Ins1 would match INS1.
    """
    folded = int(np.count_nonzero(match.routes == GeneRoute.CASE_FOLDED))
    if folded > _SPELLED_ALIKE * match.n_matched:
        raise GenesUnmatchedError(
            f"{folded} of the {match.n_matched} gene names that are known differ from those of "
            f"{loaded.entry.full_name} in letter case: they are most likely of another species",
            match.to_metadata(),
        )


def read_block(block: wire.CellBlock, n_genes: int) -> CsrMatrix:
    """Decode and validate a block of cells.

    Parameters
    ----------
    block
        The message.
    n_genes
        Number of genes in the header.

    Returns
    -------
    CsrMatrix
        (n_cells, n_genes) CSR float32, finite and nonnegative.

    Raises
    ------
    InvalidArgumentError
        If it is not a CSR matrix with ``n_genes`` columns, or a value is negative or not finite.
    """
    indptr = codec.decode(block.indptr, np.int64, "indptr")
    columns, values = _columns(block), _values(block)
    n_cells = len(indptr) - 1
    if not 0 <= n_cells <= MOST_CELLS:
        raise InvalidArgumentError(
            f"a block of {n_cells} cells; send 0 to {MOST_CELLS}, with one more indptr than cells",
            {"limit": str(MOST_CELLS)},
            field="cells.indptr",
        )
    calls.current().n_cells += n_cells
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
    # A NaN fails every comparison.
    if len(values) and not (values.min() >= 0 and values.max() < np.inf):
        raise InvalidArgumentError(
            "values must be finite and not negative; give counts or log1p of counts",
            field="cells.values",
        )
    return sp.csr_matrix((values, columns, indptr), shape=(n_cells, n_genes))


def _columns(block: wire.CellBlock) -> Int32Vector:
    columns = codec.decode(block.columns, np.int32, "columns")
    if not block.short_columns:
        return columns
    if len(columns):
        raise InvalidArgumentError(
            "columns and short_columns are given; give one of them", field="cells.short_columns"
        )
    return codec.decode(block.short_columns, np.uint16, "short_columns").astype(np.int32)


def _values(block: wire.CellBlock) -> Float32Vector:
    values = codec.decode(block.values, np.float32, "values")
    if not block.small_values:
        return values
    small = codec.decode(block.small_values, np.uint8, "small_values")
    found, others = small.astype(np.float32), np.flatnonzero(small == codec.NOT_SMALL)
    if len(others) != len(values):
        raise InvalidArgumentError(
            f"{len(others)} small_values are {codec.NOT_SMALL}, each for one of the values, and "
            f"there are {len(values)} values; give one each",
            field="cells.values",
        )
    found[others] = values
    return found
