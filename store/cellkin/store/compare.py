"""Differences between two versions of a gene embedding or corpus."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cellkin.space.arrays import Int64Vector
from cellkin.store.catalog import Entry, Kind
from cellkin.store.store import Store
from cellkin.wire.errors import DimensionMismatchError


@dataclass(frozen=True)
class Difference:
    """Differences between two versions.

    Parameters
    ----------
    added, removed
        NCBI GeneIDs that only the second or only the first version has, ascending.
    text_changed
        Common GeneIDs whose text differs, ascending.
    moved
        Common GeneIDs whose vector differs, ascending; empty for a corpus.
    distances
        (n_moved,) float64, one minus the cosine similarity of each moved gene's two vectors.
    n_common
        Number of common GeneIDs.
    """

    added: Int64Vector
    removed: Int64Vector
    text_changed: Int64Vector
    moved: Int64Vector
    distances: npt.NDArray[np.float64]
    n_common: int


def compare(store: Store, first: Entry, second: Entry) -> Difference:
    """Compare two versions of the same kind.

    Raises
    ------
    DimensionMismatchError
        If their vectors have different dimensions and so cannot be compared.
    """
    before, after = _texts(store, first), _texts(store, second)
    common, at_before, at_after = np.intersect1d(before[0], after[0], return_indices=True)
    changed = before[1][at_before] != after[1][at_after]
    moved, distances = np.empty(0, np.int64), np.empty(0)
    if first.kind is Kind.EMBEDDING:
        old, new = store.embedding(first).vectors, store.embedding(second).vectors
        if old.shape[1] != new.shape[1]:
            raise DimensionMismatchError(
                f"{first.full_name} has {old.shape[1]} dimensions, {second.full_name} "
                f"{new.shape[1]}: compare versions of one model"
            )
        old, new = old[at_before], new[at_after]
        differ = np.flatnonzero((old != new).any(axis=1))
        moved = common[differ]
        distances = 1 - np.einsum("ij,ij->i", old[differ], new[differ], dtype=np.float64)
    return Difference(
        np.setdiff1d(after[0], before[0]),
        np.setdiff1d(before[0], after[0]),
        common[changed],
        moved,
        distances,
        len(common),
    )


def _texts(store: Store, entry: Entry) -> tuple[Int64Vector, npt.NDArray[np.str_]]:
    if entry.kind is Kind.EMBEDDING:
        embedding = store.embedding(entry)
        return embedding.gene_ids, np.array(embedding.text_sha256)
    table = store.corpus(entry)
    return table["gene_id"].to_numpy(), np.array(table["text_sha256"].to_pylist())
