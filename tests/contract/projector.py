"""What every projector promises, whatever its device: the genes of the definition, its means."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from tests.unit.space import reference
from tests.unit.space.awkward import EXPRESSIONS, N_GENES, TOLERANCE, VECTORS, Case, cases, space_of

from cellkin.space.projection import CellSpace, GeneColumns, Projector, gene_columns, weighted_means
from cellkin.space.recipe import TEXT_V1, Expression
from cellkin.wire.errors import InvalidArgumentError

_inherited = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.differing_executors]
)


def counts_of(n_cells: int, n_genes: int, density: float) -> sp.csr_matrix:
    """Small counts, most of them 1, so that nearly every cell has ties at its limit."""
    rng = np.random.default_rng(11)
    matrix: sp.csr_matrix = sp.random(
        n_cells, n_genes, density, "csr", rng=rng,
        data_rvs=lambda n: rng.geometric(np.full(n, 0.6)).astype(np.float32),
    )  # fmt: skip
    return matrix


class ProjectorTests:
    """Conformance of a projector."""

    def projector(self, space: CellSpace, columns: GeneColumns) -> Projector:
        raise NotImplementedError

    def run(
        self, blocks: Sequence[sp.csr_matrix], rows: npt.NDArray[np.int64], space: CellSpace
    ) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]:
        return list(self.projector(space, gene_columns(rows, len(space.weights))).means(blocks))

    @_inherited
    @given(cases())
    def test_means_equal_the_definition(self, case: Case) -> None:
        means, empty = self.run([case.cells], case.rows, case.space)[0]
        space = case.space
        want = reference.weighted_means(
            case.counts, case.rows, space.weights, VECTORS, space.recipe
        )
        np.testing.assert_allclose(means, want, atol=TOLERANCE)
        np.testing.assert_array_equal(empty, ~want.any(axis=1))

    @_inherited
    @given(cases())
    def test_genes_are_those_of_the_definition(self, case: Case) -> None:
        space = replace(case.space, vectors=np.eye(N_GENES, dtype=np.float32))
        means, _ = self.run([case.cells], case.rows, space)[0]
        for cell, shares in zip(case.counts, means, strict=True):
            genes = reference.chosen_genes(cell, case.rows, space.weights, space.recipe)
            # A share may be too small for a float32.
            least = sum(float(w) for w in genes.values()) * 1e-37
            assert set(np.flatnonzero(shares)) <= set(genes)
            assert {g for g, w in genes.items() if w > least} <= set(np.flatnonzero(shares))

    @pytest.mark.parametrize("expression", EXPRESSIONS)
    @pytest.mark.parametrize("top_n", [0, 50])
    def test_genes_are_those_of_the_kernels(self, expression: Expression, top_n: int) -> None:
        n_genes = 900
        cells = counts_of(400, n_genes, 0.2)
        rng = np.random.default_rng(2)
        rows = rng.permutation(n_genes)
        rows[:30] = rows[30:60]
        recipe = replace(TEXT_V1, expression=expression, top_n=top_n)
        weights = rng.integers(0, 4, n_genes).astype(np.float32)
        space = space_of(recipe, weights, np.eye(n_genes, dtype=np.float32))
        means, _ = self.run([cells], rows, space)[0]
        want, _ = weighted_means(cells, gene_columns(rows, n_genes), space)
        np.testing.assert_array_equal(means > 0, want > 0)
        np.testing.assert_allclose(means, want, rtol=1e-6)

    def test_blocks_come_in_order_and_do_not_matter(self) -> None:
        n_genes = 300
        cells = counts_of(90, n_genes, 0.1)
        vectors = np.random.default_rng(0).standard_normal((n_genes, 64)).astype(np.float32)
        space = space_of(replace(TEXT_V1, top_n=12), vectors=vectors)
        cuts = [0, 1, 40, 40, 63, 80, 90]
        blocks = [cells[a:b] for a, b in itertools.pairwise(cuts)]
        parts = self.run(blocks, np.arange(n_genes), space)
        assert {sum(map(len, means_and_none)) for means_and_none in zip(*parts, strict=True)} == {
            90
        }
        whole, empty = self.run([cells], np.arange(n_genes), space)[0]
        assert np.vstack([means for means, _ in parts]).tobytes() == whole.tobytes()
        assert np.concatenate([none for _, none in parts]).tolist() == empty.tolist()

    def test_no_blocks(self) -> None:
        assert self.run([], np.arange(N_GENES), space_of(TEXT_V1)) == []

    def test_columns_that_do_not_fit_are_refused(self) -> None:
        with pytest.raises(InvalidArgumentError, match="cells of 4 columns"):
            self.run([sp.csr_matrix((1, 4), dtype=np.float32)], np.arange(3), space_of(TEXT_V1))
