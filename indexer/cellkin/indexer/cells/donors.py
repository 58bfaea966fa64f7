"""Find the column of donors that a user has not named."""

import re
from collections.abc import Callable, Sequence

# Best first. What is beside them in a name, such as `_id` and `.name`, is left out.
_NAMES = (
    "donor", "patient", "individual", "ind", "participant", "subject", "mouse", "animal", "sample",
    "origident", "batch", "library", "replicate", "channel",
)  # fmt: skip
_ENDS = re.compile(r"(?:ids?|names?|numbers?|no)$")
_CELLS_EACH = 20


def find_donors(
    columns: Sequence[str], read: Callable[[str], Sequence[str | None]], label: str
) -> str:
    """Return the column of cells' annotation that plainly says whose they are.

    By its name it has donors, samples or batches; it has at least two, and at least 20 cells each
    on average.

    Parameters
    ----------
    columns
        The columns there are.
    read
        Returns a column by its name: one string a cell, None where it is missing.
    label
        The columns of labels, with commas between: these are no donors.

    Returns
    -------
    str
        Its name; empty where there is none.
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
