"""Control embeddings: what is left of an answer when the text is taken away."""

import numpy as np

from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.wire.errors import InvalidArgumentError

RANDOM = "random"


def random_vectors(spec: str, gene_ids: Int64Vector) -> Float32Matrix:
    """Return a Gaussian unit vector for each gene, fixed by the seed and the GeneID.

    It is drawn by gene and not by text: human and mouse genes often share a name, and a vector
    shared with it would be an orthologue table in disguise.

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
        If the spec is of another form.
    """
    parts = spec.split(":")
    if (
        len(parts) != 3
        or not all(p.isdecimal() for p in parts[1:])
        or not 1 <= int(parts[1]) <= 4096
    ):
        raise InvalidArgumentError(
            f"model {spec!r}: the random control is random:DIM:SEED, such as random:384:0, "
            "with 1 to 4096 dimensions"
        )
    dim, seed = int(parts[1]), int(parts[2])
    vectors = np.empty((len(gene_ids), dim), np.float32)
    for row, gene_id in enumerate(gene_ids):
        draw = np.random.Generator(np.random.Philox(key=[seed, int(gene_id)]))
        vector = draw.standard_normal(dim)
        vectors[row] = vector / np.linalg.norm(vector)
    return vectors
