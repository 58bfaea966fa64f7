"""Collections of gene sets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

import numpy as np
import pyarrow as pa

from cellkin.space.arrays import Float32Vector, Int64Vector
from cellkin.store import schema
from cellkin.wire.errors import InvalidArgumentError, NotFoundError


@dataclass(frozen=True, eq=False)
class GeneSets:
    """The sets of one version of a gene set collection.

    Parameters
    ----------
    names, descriptions
        (n_sets,) names, unique; descriptions, empty where there is none.
    indptr
        (n_sets + 1,) int64; set ``i`` has the members ``indptr[i]`` to ``indptr[i + 1]``.
    gene_ids, weights
        (n_members,) int64 NCBI GeneIDs, ascending within a set; float32, 1 for sets without
        weights, in regulons positive for activation and negative for repression.
    unmatched
        (n_sets,) the source's gene names that match no gene, or several.
    """

    names: Sequence[str]
    descriptions: Sequence[str]
    indptr: Int64Vector
    gene_ids: Int64Vector
    weights: Float32Vector
    unmatched: Sequence[Sequence[str]]

    def __len__(self) -> int:
        """Number of sets."""
        return len(self.names)

    @cached_property
    def all_gene_ids(self) -> Int64Vector:
        """(n_genes,) int64 NCBI GeneIDs of all sets, ascending."""
        return np.unique(self.gene_ids)

    @cached_property
    def sizes(self) -> Int64Vector:
        """(n_sets,) int64 numbers of genes."""
        return np.diff(self.indptr)

    @cached_property
    def _texts(self) -> list[str]:
        texts = zip(self.names, self.descriptions, strict=True)
        return [f"{name}\n{description}".casefold() for name, description in texts]

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}

    def row(self, name: str, collection: str) -> int:
        """Return the row of a set.

        Parameters
        ----------
        name
            Name of the set.
        collection
            The version, for the error.

        Raises
        ------
        NotFoundError
            If there is no such set; the message names similar ones.
        """
        row = self._rows.get(name)
        if row is None:
            near = [self.names[each] for each in self.containing(name.replace("_", " "))[:3]]
            near = near or get_close_matches(name[:100], self.names, 3)
            hint = f"; similar: {', '.join(near)}" if near else ""
            raise NotFoundError(
                f"gene set collection {collection} has no set {name!r}{hint}; "
                f"`cellkin genesets list {collection}` lists its sets",
                {"kind": "gene set", "name": name},
            )
        return row

    def members(self, row: int) -> Int64Vector:
        """Return the (n,) int64 GeneIDs of a set, ascending."""
        return self.gene_ids[self.indptr[row] : self.indptr[row + 1]]

    def member_weights(self, row: int) -> Float32Vector:
        """Return the (n,) float32 weights of a set's genes, in the order of `members`."""
        return self.weights[self.indptr[row] : self.indptr[row + 1]]

    def containing(self, query: str, gene_id: int | None = None) -> list[int]:
        """Return the rows of the sets with all words, and with a gene if one is given, ascending.

        Parameters
        ----------
        query
            Words that name or description must contain, ignoring case; empty for all sets.
        gene_id
            NCBI GeneID; None for any.
        """
        words = query.casefold().split()
        rows: Iterable[int] = range(len(self))
        if gene_id is not None:
            at = np.flatnonzero(self.gene_ids == gene_id)
            rows = (np.searchsorted(self.indptr, at, "right") - 1).tolist()
        return [row for row in rows if all(word in self._texts[row] for word in words)]

    def check(self) -> None:
        """Check that names are unique, members ascend, and weights are finite and not zero.

        Raises
        ------
        InvalidArgumentError
            If not.
        """
        if len(self._rows) != len(self.names) or not all(self.names):
            raise InvalidArgumentError("gene sets have no name, or share one")
        if not len(self.names):
            raise InvalidArgumentError("there is no gene set")
        if not np.isfinite(self.weights).all() or not self.weights.all():
            raise InvalidArgumentError("weights of gene sets are zero or not finite")
        inside = np.ones(len(self.gene_ids), bool)
        inside[self.indptr[:-1][self.sizes > 0]] = False
        if (np.diff(self.gene_ids, prepend=0)[inside] <= 0).any():
            raise InvalidArgumentError("genes of a set repeat, or are not ascending")

    def to_table(self) -> pa.Table:
        """Return the rows to store."""
        offsets = pa.array(self.indptr, pa.int32())
        columns = [
            pa.array(self.names, pa.string()),
            pa.array(self.descriptions, pa.string()),
            pa.ListArray.from_arrays(offsets, pa.array(self.gene_ids, pa.int64())),
            pa.ListArray.from_arrays(offsets, pa.array(self.weights, pa.float32())),
            pa.array(self.unmatched, pa.list_(pa.string())),
        ]
        return pa.table(columns, schema=schema.GENE_SETS)

    @classmethod
    def from_table(cls, table: pa.Table) -> "GeneSets":
        """Create from stored rows."""
        table = table.combine_chunks()
        members = table["gene_ids"].combine_chunks()
        sizes = members.value_lengths().to_numpy()
        return cls(
            table["set"].to_pylist(),
            table["description"].to_pylist(),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            members.flatten().to_numpy(),
            table["weights"].combine_chunks().flatten().to_numpy(),
            table["unmatched"].to_pylist(),
        )


@dataclass(frozen=True)
class SetDifference:
    """Differences between two versions of a collection, by names of sets.

    Parameters
    ----------
    added, removed
        Sets that only the second or only the first version has, in its order.
    changed
        Sets of both whose genes or weights differ, in the order of the second.
    n_common
        Number of sets of both.
    """

    added: list[str]
    removed: list[str]
    changed: list[str]
    n_common: int


def compare_sets(before: GeneSets, after: GeneSets) -> SetDifference:
    """Compare two versions of a collection."""
    common = {name: before._rows[name] for name in after.names if name in before._rows}

    def differs(name: str, old: int) -> bool:
        new = after._rows[name]
        return not (
            np.array_equal(before.members(old), after.members(new))
            and np.array_equal(before.member_weights(old), after.member_weights(new))
        )

    return SetDifference(
        [name for name in after.names if name not in common],
        [name for name in before.names if name not in common],
        [name for name, old in common.items() if differs(name, old)],
        len(common),
    )
