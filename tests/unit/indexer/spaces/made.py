"""Cells whose types are made, for the tests of what is fitted to them."""

import numpy as np
import scipy.sparse as sp

from cellkin.indexer.spaces.sample import Sample
from cellkin.space.projection import CellSpace
from cellkin.space.recipe import Recipe
from cellkin.space.vectors import unit_rows

N_GENES = 90


def sample_of(
    sizes: list[int],
    seed: int = 0,
    n_batches: int = 3,
    markers: float = 3.0,
    n_genes: int = N_GENES,
) -> Sample:
    """Make cells of labels ``a``, ``b`` and so on, each with ten genes of its own."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)
    rates = np.full((len(labels), n_genes), 0.3)
    for gene in range(10 * len(sizes)):
        rates[labels == gene // 10, gene % n_genes] = markers
    # Batches differ in depth and in a gene.
    batches = (np.arange(len(labels)) % n_batches).astype(np.int32)
    rates *= (1 + 0.3 * batches)[:, None]
    rates[:, -1] += batches
    return Sample(
        sp.csr_matrix(rng.poisson(rates), dtype=np.float32),
        np.arange(n_genes, dtype=np.int64) + 1,
        labels,
        [chr(ord("a") + i) for i in range(len(sizes))],
        batches,
    )


def held_out(sample: Sample, seed: int = 0) -> tuple[Sample, Sample]:
    """Cut a sample in two, at random."""
    order = np.random.default_rng(seed).permutation(sample.n_cells)
    half = sample.n_cells // 2
    return sample.take(np.sort(order[:half])), sample.take(np.sort(order[half:]))


def text_space(recipe: Recipe, dim: int = 16) -> CellSpace:
    """A space of the genes 1 to 100 of which the sample has 90, and of one that it never saw."""
    n = N_GENES + 10
    rng = np.random.default_rng(0)
    return CellSpace(
        recipe,
        np.arange(n, dtype=np.int64) + 1,
        np.full(n, 9606, np.int32),
        unit_rows(rng.standard_normal((n, dim)).astype(np.float32)),
        np.ones(n, np.float32),
        np.arange(n) < N_GENES,
        np.zeros(dim, np.float32),
    )
