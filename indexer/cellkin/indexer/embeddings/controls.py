"""Control embeddings, which show how well labels are predicted without gene texts."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cellkin.space.arrays import Float32Matrix, Int32Vector, Int64Vector
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.names import VersionName, embedding_name, parse_version_name

RANDOM = "random"
PERMUTED = "permuted"
SYMBOL_ONLY = "symbol-only"


def random_vectors(spec: str, gene_ids: Int64Vector) -> Float32Matrix:
    """Return a Gaussian unit vector for each gene, determined by the seed and the GeneID.

    Vectors are drawn by gene and not by text: human and mouse genes often share a name, and sharing
    a vector as well would amount to an ortholog table.

    Parameters
    ----------
    spec
        ``random:DIM:SEED``.
    gene_ids
        (n_genes,) int64 NCBI GeneIDs.

    Returns
    -------
    Float32Matrix
        (n_genes, dim) float32, unit rows.

    Raises
    ------
    InvalidArgumentError
        If the spec has another form.
    """
    parts = spec.split(":")
    if len(parts) != 3 or not all(map(_is_uint64, parts[1:])) or not 1 <= int(parts[1]) <= 4096:
        raise InvalidArgumentError(
            f"model {spec!r}: the random control is random:DIM:SEED, such as random:384:0, "
            "with 1 to 4096 dimensions and a seed below 2**64"
        )
    dim, seed = int(parts[1]), int(parts[2])
    vectors = np.empty((len(gene_ids), dim), np.float32)
    for row, gene_id in enumerate(gene_ids):
        vector = _generator(seed, gene_id).standard_normal(dim)
        vectors[row] = vector / np.linalg.norm(vector)
    return vectors


@dataclass(frozen=True)
class Permutation:
    """Control that permutes the vectors of a gene embedding within each species.

    Parameters
    ----------
    source
        The gene embedding to permute.
    seed
        Seed of the permutation.
    name
        Name of the control embedding.
    """

    source: VersionName
    seed: int
    name: str

    @classmethod
    def parse(cls, spec: str) -> "Permutation":
        """Parse ``permuted:NAME[@VERSION][:SEED]``; the seed defaults to 0.

        Raises
        ------
        InvalidArgumentError
            If the spec has another form.
        """
        _, *parts = spec.split(":")
        if len(parts) not in (1, 2) or not all(map(_is_uint64, parts[1:])):
            raise InvalidArgumentError(
                f"model {spec!r}: the permuted control is permuted:NAME[@VERSION][:SEED], such as "
                "permuted:all-minilm-l6-v2 or permuted:random-384-0:1, NAME a gene embedding of "
                "this store"
            )
        source = parse_version_name(parts[0], "gene embedding")
        name = embedding_name(":".join([PERMUTED, source.name, *parts[1:]]))
        return cls(source, int(parts[1]) if len(parts) == 2 else 0, name)

    def rows(self, taxa: Int32Vector) -> Int64Vector:
        """Return the row whose vector each gene is given.

        Parameters
        ----------
        taxa
            (n_genes,) int32 NCBI taxonomy ids; vectors stay within their species, so that what
            the vectors of a species have in common is kept.

        Returns
        -------
        Int64Vector
            (n_genes,) int64, each row once.
        """
        order = np.arange(len(taxa), dtype=np.int64)
        for taxon in np.unique(taxa):
            own = np.flatnonzero(taxa == taxon)
            order[own] = _generator(self.seed, taxon).permutation(own)
        return order


def _generator(seed: int, number: int) -> np.random.Generator:
    # Of a list with a seed of 64 bits numpy makes floats, and other seeds have the same.
    return np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))


def _is_uint64(text: str) -> bool:
    """Return whether a text is a number of 64 bits, which is what Philox takes as a seed."""
    # Python refuses to parse thousands of digits.
    return text.isdecimal() and len(text) <= len(str(2**64)) and int(text) < 2**64


def symbol_texts(genes: pa.Table) -> pa.Table:
    """Return the genes with their symbol in place of their text.

    Parameters
    ----------
    genes
        Rows of a corpus; those without a symbol are left out.
    """
    genes = genes.filter(pc.not_equal(genes["symbol"], ""))
    symbols = genes["symbol"].to_pylist()
    digests = [hashlib.sha256(symbol.encode()).hexdigest() for symbol in symbols]
    for column, values in (("text", symbols), ("text_sha256", digests)):
        at = genes.schema.get_field_index(column)
        genes = genes.set_column(at, genes.schema.field(at), pa.array(values, pa.string()))
    return genes
