"""The random control."""

import numpy as np
import pytest

from cellkin.indexer.embeddings.controls import random_vectors
from cellkin.wire.errors import InvalidArgumentError


def test_a_gene_has_its_vector_whatever_genes_are_beside_it() -> None:
    many = random_vectors("random:16:3", np.array([5, 9, 100]))
    assert random_vectors("random:16:3", np.array([9])).tobytes() == many[1].tobytes()
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)
    assert abs(many[0] @ many[1]) < 0.9


def test_another_seed_is_another_vector() -> None:
    ids = np.array([5])
    assert (random_vectors("random:16:3", ids) != random_vectors("random:16:4", ids)).any()


@pytest.mark.parametrize("spec", ["random:16", "random:0:1", "random:16:x", "random:9999:1"])
def test_specs_that_are_none(spec: str) -> None:
    with pytest.raises(InvalidArgumentError, match="the random control is random:DIM:SEED"):
        random_vectors(spec, np.array([1]))
