"""Check a list of gene names as a whole: refuse row numbers."""

from collections.abc import Sequence

import numpy as np

from cellkin.space.arrays import Int64Vector
from cellkin.wire.errors import InvalidArgumentError

LIST_NAMES = 20
"""Shorter lists are not checked: they are a choice of genes, not the columns of a matrix."""
_NEARLY_ALL = 0.95
_CONSECUTIVE = 0.9
# Selected row numbers, as of highly variable genes, are spread evenly between 0 and the number of
# genes. NCBI GeneIDs are not: three in four human GeneIDs are above 60,000 and most others below
# 12,000; other species have none below 10,000.
_SELECTED_NAMES = 200
_MOST_ROWS = 60_000
_MIDDLE = (0.3, 0.7)


def require_names(names: Sequence[str]) -> None:
    """Refuse row numbers instead of gene names; they would be read as NCBI GeneIDs.

    Parameters
    ----------
    names
        Names as given. Fewer than 20 are not checked.

    Raises
    ------
    InvalidArgumentError
        If nearly all names are numbers that count up from 0 or 1, or are evenly spread like a
        selection of such numbers.
    """
    if len(names) < LIST_NAMES:
        return
    digits = [name for name in map(str.strip, names) if name.isdecimal() and len(name) < 10]
    if len(digits) < _NEARLY_ALL * len(names):
        return
    numbers = np.unique(np.array(digits, np.int64))
    if not (_counts_up(numbers) or _is_selection(numbers)):
        return
    shown = f"{', '.join(names[:3])}, ..., {names[-1]}"
    raise InvalidArgumentError(
        f"the {len(names)} gene names are row numbers ({shown}), as AnnData makes them where it is "
        "given none: name the genes by symbols, Ensembl ids or NCBI GeneIDs, in AnnData by "
        "adata.var_names = ...; where these numbers are NCBI GeneIDs, write them as GeneID:3630",
        {"first_name": names[0], "last_name": names[-1]},
    )


def _counts_up(numbers: Int64Vector) -> bool:
    span = int(numbers[-1] - numbers[0]) + 1
    return int(numbers[0]) <= 1 and len(numbers) >= max(_CONSECUTIVE * span, LIST_NAMES)


def _is_selection(numbers: Int64Vector) -> bool:
    most = int(numbers[-1])
    if len(numbers) < _SELECTED_NAMES or most >= _MOST_ROWS:
        return False
    # Denser lists may be the first rows of a table of human genes, with GeneIDs below 12,000.
    sparse = 2 * len(numbers) <= most
    middle = float(np.median(numbers)) / most
    return sparse and 20 * int(numbers[0]) < most and _MIDDLE[0] < middle < _MIDDLE[1]
