"""Read labels: words that mean a missing label, and surrounding spaces."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cellkin.wire.features import NonGene, non_gene

# In addition to the words for missing values: words for a cell without a type.
_NO_TYPE = frozenset(
    [
        *("unknown", "unassigned", "unlabeled", "unlabelled", "unannotated", "unclassified"),
        *("undefined", "undetermined", "missing", "n.a.", "n.a", "not available", "not applicable"),
        *("not assigned", "not annotated", "not determined"),
    ]
)


@dataclass(frozen=True)
class Labels:
    """The labels of cells.

    Parameters
    ----------
    values
        One string per cell, None if missing.
    notes
        Sentences for the user on labels taken as missing, and on spaces.
    """

    values: list[str | None]
    notes: list[str]


def is_missing(label: str) -> bool:
    """Return whether a label means a missing label, in any case.

    These are the empty label, ``nan``, ``NA``, ``None``, ``null`` and the like, ``unknown``,
    ``unassigned``, ``unclassified`` and the like.
    """
    plain = label.strip()
    words = " ".join(plain.lower().replace("_", " ").replace("-", " ").split())
    return non_gene(plain) is NonGene.MISSING or words in _NO_TYPE


def read_labels(levels: Sequence[Sequence[str | None]], *, literal: bool = False) -> Labels:
    """Join levels of labels to paths.

    Parameters
    ----------
    levels
        One sequence per level, from class to subtype: one string per cell, None if missing.
    literal
        Whether to keep words such as ``unknown``, and spaces around labels, as they are.

    Returns
    -------
    Labels
        Paths such as ``neuron/RGC``; None if a level is missing.
    """
    if literal:
        whole = zip(*levels, strict=True)
        return Labels([None if None in path else "/".join(map(str, path)) for path in whole], [])
    paths = list(zip(*levels, strict=True))
    words: Counter[str] = Counter()
    n_trimmed = 0
    joined: dict[tuple[str | None, ...], str | None] = {}
    for path, n_cells in Counter(paths).items():
        bare = [None if level is None else level.strip() for level in path]
        found = [level for level in bare if level is not None and is_missing(level)]
        if found:
            words[found[0]] += n_cells
        elif None not in bare:
            n_trimmed += n_cells * (bare != list(path))
        joined[path] = None if found or None in bare else "/".join(map(str, bare))
    values = [joined[path] for path in paths]
    notes = []
    if words:
        each = ", ".join(
            f"{word!r} ({n} {'cell' if n == 1 else 'cells'})" for word, n in words.most_common()
        )
        notes.append(f"labels taken as missing: {each}; --literal-labels takes them as they are")
    if n_trimmed:
        notes.append(f"spaces around the labels of {n_trimmed} cells were left out")
    return Labels(values, notes)
