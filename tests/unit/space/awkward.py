"""Awkward cells and spaces for the tests of every projection."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from hypothesis import strategies as st

from cellkin.space.projection import CellSpace
from cellkin.space.recipe import TEXT_V1, Expression, Recipe

N_GENES, DIM = 12, 37
VECTORS = np.random.default_rng(0).standard_normal((N_GENES, DIM)).astype(np.float32)
# A float32 sum of a dozen shares of numbers up to about 4.
TOLERANCE = 2e-6

EXPRESSIONS: tuple[Expression, ...] = ("linear", "log1p", "sqrt")


@dataclass(frozen=True, repr=False)
class Case:
    """Cells, what genes their columns are, and a space."""

    counts: npt.NDArray[Any]
    rows: npt.NDArray[np.int64]
    space: CellSpace

    def __repr__(self) -> str:
        recipe, weights = self.space.recipe, self.space.weights.tolist()
        return (
            f"Case({self.counts!r}, {self.rows.tolist()}, {recipe.expression}, "
            f"top_n={recipe.top_n}, weights={weights})"
        )

    @property
    def cells(self) -> sp.csr_matrix:
        return sp.csr_matrix(self.counts)


def space_of(
    recipe: Recipe,
    weights: npt.NDArray[np.float32] | None = None,
    vectors: npt.NDArray[np.float32] = VECTORS,
    center: npt.NDArray[np.float32] | None = None,
    head: npt.NDArray[np.float32] | None = None,
) -> CellSpace:
    """Make a space of genes 0, 10, 20 and so on."""
    n, dim = vectors.shape
    return CellSpace(
        recipe,
        np.arange(n) * 10,
        np.full(n, 9606, np.int32),
        vectors,
        np.ones(n, np.float32) if weights is None else weights,
        np.ones(n, bool),
        np.zeros(dim, np.float32) if center is None else center,
        head,
    )


_whole = st.sampled_from([0, 0, 0, 1, 1, 2, 7, 63, 64, 1_000_000_000])
_real = st.sampled_from([0.0, 0.0, 0.0, 1.0, 0.25, 2.0, 2.5, 1e-30, 1e-6, 3.1e4, 1e9])
_weights = st.sampled_from([0.0, 0.5, 1.0, 1.0, 3.25, 1e-3])


@st.composite
def cases(draw: st.DrawFn, same_gene: bool = True) -> Case:
    """Draw cells: whole or real numbers, empty, all alike, of one gene; columns in any order."""
    n_columns = draw(st.integers(1, 16))
    values: st.SearchStrategy[Any]
    values, kind = draw(
        st.sampled_from([(_whole, np.int64), (_whole, np.float32), (_real, np.float64)])
    )
    cell = st.one_of(
        st.lists(values, min_size=n_columns, max_size=n_columns),
        values.map(lambda value: [value] * n_columns),
        st.just([0] * n_columns),
        st.just([3] + [0] * (n_columns - 1)),
    )
    counts = np.array(draw(st.lists(cell, min_size=1, max_size=6)), kind)
    if same_gene:
        rows = draw(st.lists(st.integers(-1, N_GENES - 1), min_size=n_columns, max_size=n_columns))
    else:
        rows = draw(st.permutations(range(-4, N_GENES)))[:n_columns]
    recipe = replace(
        TEXT_V1,
        expression=draw(st.sampled_from(EXPRESSIONS)),
        top_n=draw(st.sampled_from([0, 1, 2, 5, 11, 10_000])),
    )
    weights = draw(st.lists(_weights, min_size=N_GENES, max_size=N_GENES))
    return Case(
        counts,
        np.maximum(np.array(rows, np.int64), -1),
        space_of(recipe, np.array(weights, np.float32)),
    )
