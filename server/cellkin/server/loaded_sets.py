"""A gene set collection in memory."""

from dataclasses import dataclass

from cellkin.server.loading import LoadedCorpus
from cellkin.space.arrays import Int64Vector
from cellkin.store.catalog import Entry
from cellkin.store.gene_sets import GeneSets


@dataclass(frozen=True, eq=False)
class LoadedGeneSets:
    """A gene set collection with the corpus of its gene names.

    Parameters
    ----------
    entry
        The version.
    sets
        The sets.
    corpus
        The corpus of its gene names.
    """

    entry: Entry
    sets: GeneSets
    corpus: LoadedCorpus

    @property
    def taxon(self) -> int:
        """NCBI taxonomy id of the genes."""
        return int(self.entry.manifest["taxon"])

    def members(self, name: str) -> Int64Vector:
        """Return the (n,) int64 GeneIDs of a set, ascending.

        Raises
        ------
        NotFoundError
            If the collection has no such set.
        """
        return self.sets.members(self.sets.row(name, self.entry.full_name))
