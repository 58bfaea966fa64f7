"""The query of a search for genes: a vector in each embedding that is searched."""

from dataclasses import dataclass

import numpy as np

from cellkin.server.limits import MOST_NAMED, check_names, read_vectors
from cellkin.server.loading import LoadedEmbedding, SpeciesGenes
from cellkin.server.text_models import TextModels
from cellkin.space.arrays import Float32Matrix, Float32Vector, Int64Vector
from cellkin.space.vectors import unit_rows
from cellkin.store.corpus import find_gene
from cellkin.v1 import gene_service_pb2 as wire
from cellkin.wire.errors import (
    CellkinError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)

_MOST_SHOWN = 5


@dataclass(frozen=True)
class QueryVector:
    """A query in one embedding.

    Parameters
    ----------
    vector
        (dim,) float32, unit length.
    gene_ids
        (n,) int64 GeneIDs of the query's genes, in the order given; excluded from the hits.
    taxa
        Their species.
    unmatched
        Names of a set that are not used.
    """

    vector: Float32Vector
    gene_ids: Int64Vector
    taxa: tuple[int, ...] = ()
    unmatched: tuple[str, ...] = ()

    @property
    def taxon(self) -> int:
        """The species of the genes; 0 if there are no genes or several species."""
        taxa = set(self.taxa)
        return taxa.pop() if len(taxa) == 1 else 0


class GeneQuery:
    """The query of a request.

    Parameters
    ----------
    request
        The request.
    models
        The loaded language models.
    """

    def __init__(self, request: wire.SearchGenesRequest, models: TextModels) -> None:
        self._request, self._models = request, models
        self.kind = request.WhichOneof("query")

    def within(self, loaded: LoadedEmbedding, model: LoadedEmbedding | None = None) -> QueryVector:
        """Return the query in an embedding.

        Parameters
        ----------
        loaded
            The embedding.
        model
            The embedding of the model that embeds a text, if ``loaded`` is a control of it.

        Raises
        ------
        InvalidArgumentError
            If a gene name is empty or ambiguous, the query is missing, or its genes' vectors have
            no mean direction.
        NotFoundError
            If no gene has the name, or none of a set is known.
        FailedPreconditionError
            If the gene has no text, or the language model of a text is not loaded.
        """
        if self.kind == "gene":
            return self._of_genes(loaded, [self._request.gene], "gene")
        if self.kind == "gene_set":
            return self._of_genes(loaded, list(self._request.gene_set.names), "gene_set.names")
        if self.kind == "text":
            vector = self._models.embed(self._request.text, (model or loaded).entry)
        elif self.kind == "vector":
            vectors = read_vectors(self._request.vector, len(loaded.mean), "vector")
            if len(vectors) != 1:
                raise InvalidArgumentError(f"{len(vectors)} vectors; give one", field="vector")
            vector = vectors[0]
        else:
            raise InvalidArgumentError(
                "nothing is asked for; give a gene, a gene_set, a vector or a text", field="query"
            )
        moved = unit_rows((vector - loaded.mean)[None])[0]
        return QueryVector(moved, np.empty(0, np.int64))

    def _of_genes(self, loaded: LoadedEmbedding, names: list[str], field: str) -> QueryVector:
        check_names(names, MOST_NAMED, field)
        if not names:
            raise InvalidArgumentError("the set has no gene; name at least one", field=field)
        gene_ids: dict[int, int] = {}
        vectors: list[Float32Vector] = []
        unmatched = []
        for name in names:
            try:
                gene_id, taxon, vector = self._of_gene(loaded, name)
            except CellkinError:
                if self.kind == "gene":
                    raise
                unmatched.append(name)
                continue
            if gene_id not in gene_ids:
                gene_ids[gene_id] = taxon
                vectors.append(vector)
        if not vectors:
            shown = ", ".join(map(repr, unmatched[:_MOST_SHOWN]))
            more = ", ..." if len(unmatched) > _MOST_SHOWN else ""
            raise NotFoundError(
                f"none of the set's {len(names)} names is a single gene with a text in embedding "
                f"{loaded.entry.full_name}: {shown}{more}"
            )
        vector = mean_direction(np.stack(vectors), field)
        ids = np.array(list(gene_ids), np.int64)
        return QueryVector(vector, ids, tuple(gene_ids.values()), tuple(unmatched))

    def _of_gene(self, loaded: LoadedEmbedding, name: str) -> tuple[int, int, Float32Vector]:
        row = find_gene(loaded.genes, name, self._request.taxon)
        gene_id = int(loaded.genes.gene_ids[row])
        taxon = int(loaded.genes.table["taxon"][row].as_py())
        species = loaded.species(taxon)
        at = int(species.rows_of(np.array([gene_id]))[0])
        if at < 0:
            raise FailedPreconditionError(
                f"gene {loaded.genes.table['symbol'][row].as_py()!r} (GeneID {gene_id}) has no "
                f"text in corpus {loaded.entry.manifest['corpus']}, so it has no neighbors"
            )
        return gene_id, taxon, species.vectors[at]


def permuted(
    query: QueryVector, loaded: LoadedEmbedding, searched: dict[int, SpeciesGenes]
) -> Float32Vector:
    """Return the query's vector where vectors are permuted over genes; that of a text is the same.

    Parameters
    ----------
    query
        The query in the embedding.
    loaded
        The embedding.
    searched
        The genes searched, by species. A gene of the query that is not among them gets the vector
        of any gene of its species.
    """
    vectors = []
    for gene_id, taxon in zip(query.gene_ids.tolist(), query.taxa, strict=True):
        genes = searched.get(taxon, loaded.species(taxon))
        if genes.rows_of(np.array([gene_id]))[0] < 0:
            genes = loaded.species(taxon)
        row = genes.rows_of(np.array([gene_id]))[0]
        vectors.append(genes.vectors[genes.permuted[row]])
    return mean_direction(np.stack(vectors), "controls") if vectors else query.vector


def mean_direction(vectors: Float32Matrix, field: str) -> Float32Vector:
    """Return the mean of (n, dim) float32 vectors, scaled to unit length.

    Raises
    ------
    InvalidArgumentError
        If they cancel each other.
    """
    mean = vectors.mean(axis=0, dtype=np.float64, keepdims=True).astype(np.float32)
    if not mean.any():
        raise InvalidArgumentError("the genes' vectors cancel each other", field=field)
    direction: Float32Vector = unit_rows(mean)[0]
    return direction
