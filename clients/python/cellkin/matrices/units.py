"""Find the units of a matrix: counts, their logarithm, or values that cannot be used."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.matrices.scales import BY_HAND, LINEAR, LOG1P, LOG2, LOG_TWICE, SQUARE_ROOT, Scale
from cellkin.matrices.unit_evidence import Evidence
from cellkin.wire.errors import InvalidArgumentError

# A row with fewer values may be all whole numbers by chance, on any scale.
_FEW_VALUES = 3
_STRETCH = 32_768
_BINARY_GENES = 50
_SEVERAL = 0.15


@dataclass(frozen=True)
class UnitsFinding:
    """The units found, and the evidence as text.

    Parameters
    ----------
    scale
        The scale of the values; if only some rows are whole numbers, that of the others.
    why
        The units and the evidence for them, as text.
    whole
        Whether all sampled values are whole numbers.
    caution
        A sentence on what is unusual or uncertain; empty if nothing is.
    sure
        False if the scale was guessed from the size of the values.
    said
        The units given by the user; empty if inferred.
    """

    scale: Scale
    why: str
    whole: bool = False
    caution: str = ""
    sure: bool = True
    said: str = ""


def find_units(
    cells: sp.csr_matrix, where: str, elsewhere: Sequence[str] = (), said: str | None = None
) -> UnitsFinding:
    """Find the units of a matrix from a sample of its cells.

    Whole numbers are counts. For fractions, `Evidence` finds the scale on which they are multiples
    of their cell's smallest value or add up to one total. If there is none, the scale is guessed
    from their size, and the finding is uncertain.

    Parameters
    ----------
    cells
        (n_cells, n_genes) CSR, any sample of the matrix's rows.
    where, elsewhere
        As for `check_values`.
    said
        The units given by the user, a key of `BY_HAND`; None infers them.

    Raises
    ------
    InvalidArgumentError
        If a value is negative (centered or scaled data) or not finite, if fractions are on two
        scales, or if the values contradict the units given by the user.
    """
    check_values(cells.data, where, elsewhere)
    filled = cells[np.diff(cells.indptr) > 0]
    whole = whole_rows(filled)
    if said is not None:
        return _said(filled, whole, said, where)
    if whole.all():
        return _counts(filled)
    found = _of_fractions(filled[~whole], where)
    n_whole = int((whole & (np.diff(filled.indptr) >= _FEW_VALUES)).sum())
    if not n_whole:
        return found
    if found.scale is LINEAR:
        return found
    others = f"counts in {n_whole} of {len(whole)} sampled cells"
    caution = f"cells are of two units: {others}, {found.scale.name} in the rest"
    return replace(found, why=f"{others}, in the others {found.why}", caution=caution)


def all_whole(values: npt.NDArray[np.float32]) -> bool:
    """Return whether all of (n,) float32 values are whole numbers."""
    stretches = (values[i : i + _STRETCH] for i in range(0, len(values), _STRETCH))
    return all(np.array_equal(np.rint(stretch), stretch) for stretch in stretches)


def whole_rows(
    cells: sp.csr_matrix, all_whole: Callable[[npt.NDArray[np.float32]], bool] = all_whole
) -> npt.NDArray[np.bool_]:
    """Return (n_cells,) bool, whether all values of a row are whole; True for empty rows."""
    whole, values = np.ones(cells.shape[0], bool), cells.data[: cells.nnz]
    # Nearly all files are of counts, for which one pass through the cache is enough.
    if all_whole(values):
        return whole
    filled = np.flatnonzero(np.diff(cells.indptr))
    whole[filled] = ~np.logical_or.reduceat(np.rint(values) != values, cells.indptr[filled])
    return whole


def largest_of_rows(cells: sp.csr_matrix) -> npt.NDArray[np.float32]:
    """Return (n_cells,) float32, the largest value of each row, 0 for empty rows."""
    largest = np.zeros(cells.shape[0], np.float32)
    filled = np.flatnonzero(np.diff(cells.indptr))
    if len(filled):
        largest[filled] = np.maximum.reduceat(cells.data, cells.indptr[filled])
    return largest


def surely_linear(cells: sp.csr_matrix, scale: Scale) -> npt.NDArray[np.bool_]:
    """Return (n_cells,) bool, the rows that cannot be on a given logarithmic scale.

    They have at least 3 values, all whole numbers, or a value above the scale's largest.
    """
    enough = np.diff(cells.indptr) >= _FEW_VALUES
    return np.asarray((whole_rows(cells) & enough) | (largest_of_rows(cells) > scale.largest))


def check_values(
    values: npt.NDArray[np.floating], where: str, elsewhere: Sequence[str] = ()
) -> None:
    """Refuse negative and non-finite values.

    Parameters
    ----------
    values
        Any values of the matrix.
    where
        Names the matrix in the error.
    elsewhere
        Options that select another matrix of the same file, such as ``--layer counts``.

    Raises
    ------
    InvalidArgumentError
        If a value is negative or not finite.
    """
    instead = f"; this file also has {', '.join(elsewhere)}" if elsewhere else ""
    if not np.isfinite(values).all():
        raise InvalidArgumentError(f"{where}: some values are not finite; give counts{instead}")
    if values.size and values.min() < 0:
        raise InvalidArgumentError(
            f"{where}: values down to {values.min():.3g}; centered or scaled data cannot be used. "
            f"Give counts, or log1p of normalized counts{instead}"
        )


def _counts(cells: sp.csr_matrix) -> UnitsFinding:
    largest = float(cells.data.max(initial=0))
    caution = ""
    if largest == 1 and np.median(np.diff(cells.indptr)) >= _BINARY_GENES:
        caution = (
            "all values are 0 or 1: which genes were detected, not how much; labels rest on less "
            "than they would on counts"
        )
    return UnitsFinding(
        LINEAR, f"counts (integers up to {largest:.0f})", whole=True, caution=caution
    )


def _said(
    cells: sp.csr_matrix, whole: npt.NDArray[np.bool_], said: str, where: str
) -> UnitsFinding:
    """Use the units given by the user, unless the values contradict them."""
    if said not in BY_HAND:
        raise InvalidArgumentError(f"units are {said!r}; give one of {', '.join(BY_HAND)}")
    scale, caution = BY_HAND[said], ""
    require_said(cells, scale, said, where)
    if cells.nnz and not whole.all():
        try:
            found = _of_fractions(cells[~whole], where)
            if found.scale is not scale and not found.caution:
                caution = f"values were said to be {said}, but look like {found.why}"
        except InvalidArgumentError as error:
            caution = f"values were said to be {said}, though {error}"
    largest = cells.data.max(initial=0)
    return UnitsFinding(
        scale,
        f"{said}, as was said (values up to {largest:.5g})",
        bool(whole.all()),
        caution,
        said=said,
    )


def require_said(cells: sp.csr_matrix, scale: Scale, said: str, where: str) -> None:
    """Refuse values that contradict the units given by the user.

    Raises
    ------
    InvalidArgumentError
        If the units are logarithms and some rows cannot be.
    """
    if scale is LINEAR or not cells.nnz:
        return
    if odd := int(surely_linear(cells, scale).sum()):
        raise InvalidArgumentError(
            f"{where}: units were said to be {said}, but {odd} of {cells.shape[0]} cells are whole "
            f"numbers or go up to {cells.data.max():.5g}, which no such logarithm does; leave "
            "units unset, or say counts or cp10k"
        )


def _of_fractions(cells: sp.csr_matrix, where: str) -> UnitsFinding:
    """Find the scale of rows with fractions."""
    low = largest_of_rows(cells) <= LOG1P.largest
    if 0 < low.sum() < len(low):
        # Rows with values above every logarithm say nothing about the others.
        logs, rest = Evidence(cells[low]), Evidence(cells[~low])
        if (logs.by_multiples or logs.by_totals) is LOG1P and not rest.logarithms:
            return UnitsFinding(
                LOG1P,
                f"{_stated(logs, LOG1P)} and, in {len(low) - low.sum()} of {len(low)} "
                f"sampled cells with fractions, linear values up to {rest.largest:.0f}",
            )
    evidence = Evidence(cells)
    require_one_scale(evidence, where)
    scale = evidence.by_multiples or evidence.by_totals
    if scale is not None:
        caution = ""
        if scale in (SQUARE_ROOT, LOG_TWICE):
            caution = f"values are {_stated(evidence, scale)}; they are undone, but give counts"
        return UnitsFinding(scale, _stated(evidence, scale), caution=caution)
    if evidence.largest > LOG2.largest:
        return UnitsFinding(
            LINEAR,
            f"normalized or corrected counts (fractions up to {evidence.largest:.0f}, beyond every "
            "logarithm)",
        )
    scale = evidence.by_size
    name = "linear values" if scale is LINEAR else f"{scale.name} of normalized counts"
    return UnitsFinding(
        scale,
        f"{name}, by their size alone (fractions up to {evidence.largest:.2f})",
        sure=False,
        caution=f"no unit explains the values clearly: they are taken for {name} by their size; "
        "say by units what they are (counts, cp10k, log1p or log2), or give counts",
    )


def require_one_scale(evidence: Evidence, where: str) -> None:
    """Refuse fractions if some rows support one scale and some another.

    Raises
    ------
    InvalidArgumentError
        If so; the message names both scales.
    """
    first, second, shares = evidence.rivals
    if first is not None and second is not None and min(shares) > _SEVERAL:
        raise InvalidArgumentError(
            f"{where}: cells are on two scales, about {shares[0]:.0%} of them {first.name} and "
            f"{shares[1]:.0%} {second.name}, which cannot be told apart cell by cell; bring them "
            "to one scale, or give them one after the other"
        )


def _stated(evidence: Evidence, scale: Scale) -> str:
    """Return text on the units and the evidence for them."""
    of = f"{scale.undone} of the values" if scale is not LINEAR else "the values"
    n = evidence.cells.shape[0]
    head = "" if scale is LINEAR else f"{scale.name} of "
    if evidence.by_totals is scale:
        totals = evidence.totals(scale)
        total = evidence.round_total(scale) or float(np.median(totals))
        met = int((np.abs(totals / total - 1) < 0.02).sum())
        return (
            f"{head}counts per {total:,.0f} (row sums{'' if scale is LINEAR else ' of '}"
            f"{scale.undone} are {total:,.0f} in {met} of {n} sampled cells)"
        )
    met, told = evidence.agreeing(scale)
    least = evidence.unit(scale)
    what = "counts" if least == 1 else f"counts times {least:.3g}" if least else "scaled counts"
    return (
        f"{head}{what} ({of} are multiples of each cell's smallest in {met} of {told} sampled "
        f"cells, up to {evidence.largest:.5g})"
    )
