"""The projection as it is defined, gene by gene in double precision, with nothing clever in it."""

import numpy as np
import numpy.typing as npt

from cellkin.space.recipe import Recipe

Matrix = npt.NDArray[np.float64]


def expression(x: dict[int, np.float32], kind: str) -> dict[int, np.float32]:
    """Return f(x) of a cell's matched genes, by gene."""
    if kind == "linear":
        return x
    if kind == "sqrt":
        return {g: np.float32(np.sqrt(float(value))) for g, value in x.items()}
    total = sum(float(value) for value in x.values())
    return {g: np.float32(np.log1p(float(x[g]) * (10_000.0 / total))) for g in x}


def chosen_genes(
    cell: npt.NDArray[np.generic],
    rows: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32],
    recipe: Recipe,
) -> dict[int, np.float32]:
    """Return the weights w of a cell's top genes, by gene, the first first."""
    sums: dict[int, float] = {}
    for value, row in zip(cell, rows, strict=True):
        if row >= 0 and np.float32(value) > 0:
            sums[int(row)] = sums.get(int(row), 0.0) + float(np.float32(value))
    x = {gene: np.float32(total) for gene, total in sums.items()}
    w = {g: np.float32(f * weights[g]) for g, f in expression(x, recipe.expression).items()}
    order = sorted((g for g in w if w[g] > 0), key=lambda g: (-w[g], g))
    return {g: w[g] for g in order[: recipe.top_n or None]}


def mean(chosen: dict[int, np.float32], vectors: npt.NDArray[np.float32]) -> Matrix:
    """Return the weighted mean of the vectors; zero if there is nothing to add."""
    total = sum(float(w) for w in chosen.values())
    out = np.zeros(vectors.shape[1])
    for gene, w in chosen.items():
        out += float(w) / total * vectors[gene].astype(np.float64)
    return out


def weighted_means(
    cells: npt.NDArray[np.generic],
    rows: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32],
    vectors: npt.NDArray[np.float32],
    recipe: Recipe,
) -> Matrix:
    """Return the weighted mean of every cell."""
    return np.array([mean(chosen_genes(cell, rows, weights, recipe), vectors) for cell in cells])
