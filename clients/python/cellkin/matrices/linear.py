"""Convert blocks of cells to linear expression, each cell by its own units."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.matrices.scales import LINEAR, LOG1P, LOG2, Scale
from cellkin.matrices.unit_evidence import Evidence
from cellkin.matrices.units import (
    UnitsFinding,
    all_whole,
    largest_of_rows,
    require_one_scale,
    require_said,
    surely_linear,
    whole_rows,
)
from cellkin.wire.errors import InvalidArgumentError

# Every so many cells, some rows with fractions are checked to be on the sample's scale; cheap
# checks are made on every row.
_CHECKED_EVERY = 2048
_CHECKED = 16
_INSTEAD = (
    "bring all cells to one scale, give them one after the other, or say by units what all are"
)


class LinearReader:
    """Convert blocks of a matrix to linear expression.

    Cells of whole numbers are counts and cells with values above every logarithm are linear,
    whatever the other cells are; the rest are on the scale of the sample.

    Parameters
    ----------
    finding
        The units of a sample of the matrix.
    where
        The matrix's name in errors.
    all_whole
        Returns whether values are whole numbers, for callers with compiled code.
    """

    def __init__(
        self,
        finding: UnitsFinding,
        where: str,
        all_whole: Callable[[npt.NDArray[np.float32]], bool] = all_whole,
    ) -> None:
        self._sampled, self._where, self._all_whole = finding, where, all_whole
        # The scale of cells with fractions; None until one is read.
        self._scale: Scale | None = None if finding.whole else finding.scale
        self._unchecked = _CHECKED_EVERY
        self._met: dict[int, tuple[int, int]] = {}

    @property
    def finding(self) -> UnitsFinding:
        """Units of the matrix, by all cells read so far."""
        n_linear, n_logs = (sum(n) for n in zip((0, 0), *self._met.values(), strict=True))
        if not (n_linear and n_logs and self._scale):
            return self._sampled
        return replace(
            self._sampled,
            caution=f"cells are of two units: {n_logs:,} are {self._scale.name} of counts and "
            f"{n_linear:,} are counts or linear. Each was read by its own; give one kind, so that "
            "nothing depends on telling them apart",
        )

    def linear(self, cells: sp.csr_matrix, first: int = 0) -> sp.csr_matrix:
        """Return the linear expression of a block.

        Parameters
        ----------
        cells
            (n_cells, n_genes) CSR float32, as `Matrix.rows` returns it.
        first
            Index of its first cell in the matrix.

        Returns
        -------
        csr_matrix
            (n_cells, n_genes) CSR float32; the block itself if all its cells are linear.

        Raises
        ------
        InvalidArgumentError
            If cells have fractions on another scale than the sample or on an unclear one, or if
            values contradict the units given by the user.
        """
        if not cells.nnz:
            return cells
        if self._sampled.said:
            require_said(cells, self._sampled.scale, self._sampled.said, self._where)
            return self._sampled.scale.linear_cells(cells)
        self._check(cells, first)
        scale = self._scale
        filled = np.diff(cells.indptr) > 0
        if scale is None:
            self._met[first] = int(filled.sum()), 0
        if scale is None or scale is LINEAR:
            return cells
        linear = surely_linear(cells, scale)
        self._met[first] = int((linear & filled).sum()), int((~linear & filled).sum())
        if not linear.any():
            return scale.linear_cells(cells)
        undone = np.repeat(~linear, np.diff(cells.indptr))
        mixed = cells.copy()
        mixed.data[undone] = scale.linear(cells.data[undone])
        return mixed

    def _check(self, cells: sp.csr_matrix, first: int) -> None:
        """Check some rows, and refuse fractions on another scale than the sample's."""
        self._unchecked += cells.shape[0]
        due = self._unchecked >= _CHECKED_EVERY and self._sampled.sure
        if not due and self._scale is not None:
            return
        odd = np.flatnonzero(~whole_rows(cells, self._all_whole))
        if not len(odd):
            return
        where = f"{self._where}, cells from {first + int(odd[0]):,} on"
        if self._scale is None:
            self._scale = _first_scale(Evidence(cells[odd]), where)
            return
        self._unchecked = 0
        low = odd[largest_of_rows(cells[odd]) <= LOG1P.largest]
        # Evidence from a few logarithmic cells would be lost among linear ones.
        rows = low if self._scale is not LINEAR or 0 < len(low) < len(odd) / 2 else odd
        if not len(rows):
            return
        evidence = Evidence(cells[rows[:: -(-len(rows) // _CHECKED)]])
        require_one_scale(evidence, where)
        found = evidence.by_multiples or evidence.by_round_total
        if found is not None and found is not self._scale:
            raise InvalidArgumentError(
                f"{where}: values are {found.name}, though those that were sampled are "
                f"{self._sampled.why}; {_INSTEAD}"
            )


def _first_scale(evidence: Evidence, where: str) -> Scale:
    """Find the scale of the first fractions after a sample of whole numbers."""
    require_one_scale(evidence, where)
    found = evidence.by_multiples or evidence.by_totals
    if found is None and evidence.largest > LOG2.largest:
        found = LINEAR
    if found is None:
        raise InvalidArgumentError(
            f"{where}: values have fractions up to {evidence.largest:.2f}, though the cells that "
            f"were sampled are counts, and what they are cannot be told; {_INSTEAD}"
        )
    return found
