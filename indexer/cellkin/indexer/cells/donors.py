"""Guess the obs column of donors when the user has not named one."""

import re
from collections.abc import Callable, Sequence

# Best first; endings such as `_id` and `.name` are stripped before comparing.
_NAMES = (
    "donor", "patient", "individual", "ind", "participant", "subject", "mouse", "animal", "sample",
    "origident", "batch", "library", "replicate", "channel",
)  # fmt: skip
_ENDS = re.compile(r"(?:ids?|names?|numbers?|no)$")
_CELLS_EACH = 20


def find_donors(
    columns: Sequence[str], read: Callable[[str], Sequence[str | None]], label: str
) -> str:
    """Return the obs column that most plainly holds donors, samples or batches.

    Its name says so, and it has at least two values with at least 20 cells each on average.

    Parameters
    ----------
    columns
        Names of the obs columns.
    read
        Returns a column by its name: one string per cell, None if missing.
    label
        Comma-separated label columns, which are skipped.

    Returns
    -------
    str
        Name of the column; empty if there is none.
    """
    labels = {label, *map(str.strip, label.split(","))}
    found = [(rank, at) for at, name in enumerate(columns) if (rank := _rank(name)) is not None]
    for _, at in sorted(found):
        if columns[at] in labels:
            continue
        values = [value for value in read(columns[at]) if value is not None]
        n_distinct = len(set(values))
        if n_distinct > 1 and len(values) >= _CELLS_EACH * n_distinct:
            return columns[at]
    return ""


def _rank(name: str) -> int | None:
    plain = re.sub(r"[^a-z]", "", name.lower())
    for rank, known in enumerate(_NAMES):
        if plain == known or (plain.startswith(known) and _ENDS.fullmatch(plain[len(known) :])):
            return rank
    return None
