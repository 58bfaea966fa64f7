"""What exact search promises on every device."""

import numpy as np
import pytest

from cellkin.indexer.neighbors.torch_exact import exact_neighbors
from cellkin.wire.errors import DimensionMismatchError, InvalidArgumentError


class ExactNeighborsTests:
    """Conformance of exact search."""

    device = "cpu"

    @pytest.mark.parametrize("k", [1, 3, 20, 50])
    @pytest.mark.parametrize("cuts", [(), (20,), (1, 1, 13, 38)])
    def test_the_nearest_by_definition(self, k: int, cuts: tuple[int, ...]) -> None:
        """Whole numbers, so that scores are exact and many are equal."""
        rng = np.random.default_rng(k)
        vectors = rng.integers(-1, 2, (40, 5)).astype(np.float32)
        queries = rng.integers(-1, 2, (7, 5)).astype(np.float32)
        batches = np.split(vectors, cuts)
        scores, ids = exact_neighbors(queries, iter(batches), k, self.device)
        want = queries @ vectors.T
        order = np.argsort(-want, axis=1, kind="stable")[:, :k]
        n = order.shape[1]
        np.testing.assert_array_equal(ids[:, :n], order)
        np.testing.assert_array_equal(scores[:, :n], np.take_along_axis(want, order, axis=1))
        assert (ids[:, n:] == -1).all()
        assert np.isneginf(scores[:, n:]).all()

    def test_many_queries_and_vectors(self) -> None:
        rng = np.random.default_rng(0)
        vectors = rng.standard_normal((9000, 16)).astype(np.float32)
        queries = rng.standard_normal((1100, 16)).astype(np.float32)
        scores, ids = exact_neighbors(queries, [vectors[:5000], vectors[5000:]], 10, self.device)
        want = queries.astype(np.float64) @ vectors.T
        np.testing.assert_allclose(scores, -np.sort(-want, axis=1)[:, :10], atol=1e-5)
        np.testing.assert_allclose(np.take_along_axis(want, ids, axis=1), scores, atol=1e-5)
        assert (np.diff(scores, axis=1) <= 0).all()

    def test_nothing_to_search(self) -> None:
        scores, ids = exact_neighbors(np.ones((2, 3), np.float32), [], 4, self.device)
        assert (ids == -1).all()
        assert np.isneginf(scores).all()

    def test_what_makes_no_sense_is_refused(self) -> None:
        queries = np.ones((2, 3), np.float32)
        with pytest.raises(InvalidArgumentError, match="k is 0"):
            exact_neighbors(queries, [], 0, self.device)
        with pytest.raises(DimensionMismatchError, match="3 dimensions, vectors of 4"):
            exact_neighbors(queries, [np.ones((2, 4), np.float32)], 1, self.device)
