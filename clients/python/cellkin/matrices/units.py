"""What the values of a matrix are: counts, their logarithm, or something no label can rest on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.matrices.scales import BY_HAND, LINEAR, LOG1P, LOG2, LOG_TWICE, SQUARE_ROOT, Scale
from cellkin.matrices.unit_evidence import Evidence
from cellkin.wire.errors import InvalidArgumentError

# A row of fewer values may be whole numbers by chance, whatever its scale.
_FEW_VALUES = 3
_BINARY_GENES = 50
_SEVERAL = 0.15


@dataclass(frozen=True)
class UnitsFinding:
    """What values were found to be, and the sentences that say why.

    Parameters
    ----------
    scale
        The scale of the values; of rows that are whole numbers, only if all are.
    why
        What they are, and by what evidence.
    whole
        Whether all sampled values are whole numbers.
    caution
        What is odd or uncertain about them, as a sentence; empty where nothing is.
    sure
        Whether there is evidence, and not size alone.
    said
        The word by which the user said it; empty where nobody did.
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
    """Tell counts from logarithms by a sample of cells.

    Whole numbers are counts. For fractions `Evidence` says on which scale they are multiples of
    their cell's smallest, or add up to one total; only where neither is so is their size looked at,
    and then the finding is uncertain.

    Parameters
    ----------
    cells
        (n_cells, n_genes) any sample of the matrix's rows.
    where, elsewhere
        As for `check_values`.
    said
        What the user says they are, a key of `BY_HAND`; None infers it.

    Raises
    ------
    InvalidArgumentError
        If a value is negative or not finite, for centered or scaled data has lost the counts; if
        fractions are on two scales; or if the values cannot be what the user says they are.
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


def whole_rows(cells: sp.csr_matrix) -> npt.NDArray[np.bool_]:
    """Return (n_cells,) bool, the rows all of whose values are whole numbers; empty ones are."""
    n_whole = np.zeros(cells.nnz + 1, np.int64)
    np.cumsum(cells.data == np.rint(cells.data), out=n_whole[1:])
    starts = n_whole[cells.indptr]
    return np.asarray(np.diff(starts) == np.diff(cells.indptr))


def largest_of_rows(cells: sp.csr_matrix) -> npt.NDArray[np.float32]:
    """Return (n_cells,) float32, the largest value of each row, 0 of an empty one."""
    largest = np.zeros(cells.shape[0], np.float32)
    filled = np.flatnonzero(np.diff(cells.indptr))
    if len(filled):
        largest[filled] = np.maximum.reduceat(cells.data, cells.indptr[filled])
    return largest


def surely_linear(cells: sp.csr_matrix, scale: Scale) -> npt.NDArray[np.bool_]:
    """Return (n_cells,) bool, the rows that cannot be on a logarithmic scale.

    They are whole numbers, or have values beyond every logarithm.
    """
    enough = np.diff(cells.indptr) >= _FEW_VALUES
    return np.asarray((whole_rows(cells) & enough) | (largest_of_rows(cells) > scale.largest))


def check_values(
    values: npt.NDArray[np.floating], where: str, elsewhere: Sequence[str] = ()
) -> None:
    """Refuse values that are no expression.

    Parameters
    ----------
    values
        Any values of the matrix.
    where
        Names the matrix in the error.
    elsewhere
        Options that choose another matrix of the same file, such as ``--layer counts``.

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
            f"{where}: values down to {values.min():.3g}; centred or scaled data cannot be used. "
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
    """Take the user's word, unless the values cannot be so."""
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
    """Refuse values that cannot be on the scale that the user named.

    Raises
    ------
    InvalidArgumentError
        If logarithms were said, and there are rows that cannot be.
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
    """Tell the scale of rows that have fractions."""
    low = largest_of_rows(cells) <= LOG1P.largest
    if 0 < low.sum() < len(low):
        # Values beyond every logarithm in some rows say nothing of the others.
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
    """Refuse fractions of which some rows speak for one scale and some for another.

    Raises
    ------
    InvalidArgumentError
        With both scales.
    """
    first, second, shares = evidence.rivals
    if first is not None and second is not None and min(shares) > _SEVERAL:
        raise InvalidArgumentError(
            f"{where}: cells are on two scales, about {shares[0]:.0%} of them {first.name} and "
            f"{shares[1]:.0%} {second.name}, which cannot be told apart cell by cell; bring them "
            "to one scale, or give them one after the other"
        )


def _stated(evidence: Evidence, scale: Scale) -> str:
    """Say what values are, and what shows it."""
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
