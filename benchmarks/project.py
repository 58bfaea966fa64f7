"""Measure the projection against numpy and scipy, and against what the machine could do.

Counts are synthetic: genes of a log-normal profile, cells of eight types, drawn by the alias method
with a seed. The baseline does what one would write without kernels, on a matrix whose columns are
already in the order of the genes; the kernels' matrix has its columns in another order.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from numba import njit
from project_expression import expression
from report import (
    Figure,
    Timing,
    add_options,
    at_least,
    cpu_s,
    cpu_speedup,
    finish,
    interleaved,
    machine,
    speedup,
    wall_s,
)

from cellkin.space import gather
from cellkin.space.aligned import aligned, empty_aligned
from cellkin.space.arrays import frozen
from cellkin.space.blocks import BLOCK_CELLS, Block
from cellkin.space.projection import (
    CellSpace,
    GeneColumns,
    _Chooser,
    gene_columns,
    weighted_means,
)
from cellkin.space.recipe import TEXT_V1, Recipe
from cellkin.space.vectors import unit_rows

_N_GENES, _DIM, _N_TYPES = 20_000, 384, 8
_TOP_200 = replace(TEXT_V1, name="top-200", gene_weighting="none", top_n=200)
_ALL = replace(TEXT_V1, name="all genes", top_n=0)

_FIRST_CALL = """
import time
import numpy, scipy.sparse
started = time.process_time()
from cellkin.space.projection import CellSpace, gene_columns, weighted_means
from cellkin.space.recipe import TEXT_V1
imported = time.process_time()
n = 500
space = CellSpace(TEXT_V1, numpy.arange(n), numpy.zeros(n, "i4"), numpy.ones((n, 384), "f4"),
                  numpy.ones(n, "f4"), numpy.ones(n, bool), numpy.zeros(384, "f4"))
weighted_means(scipy.sparse.csr_matrix(numpy.ones((2, n), "f4")),
               gene_columns(numpy.arange(n), n), space)
print(imported - started, time.process_time() - imported)
"""


def alias_table(p: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """Return the alias method's table: the share kept in each place, and who gets the rest."""
    kept, other = p * len(p) / p.sum(), np.arange(len(p))
    small, large = list(np.flatnonzero(kept < 1)), list(np.flatnonzero(kept >= 1))
    while small and large:
        low, high = small.pop(), large.pop()
        other[low] = high
        kept[high] -= 1 - kept[low]
        (small if kept[high] < 1 else large).append(high)
    return kept, other


def counts(n_cells: int, seed: int = 0) -> sp.csr_matrix:
    """Draw cells: about 4,500 molecules and 2,100 genes each, two thirds of the values 1."""
    rng = np.random.default_rng(seed)
    profile, parts = rng.normal(0, 2.0, _N_GENES), []
    for _ in range(_N_TYPES):
        kept, other = alias_table(np.exp(profile + rng.normal(0, 0.6, _N_GENES)))
        depths = rng.lognormal(np.log(4550), 0.35, n_cells // _N_TYPES).astype(np.int64)
        drawn = rng.integers(0, _N_GENES, depths.sum())
        genes = np.where(rng.random(len(drawn)) < kept[drawn], drawn, other[drawn])
        cells = np.repeat(np.arange(len(depths)), depths)
        places, values = np.unique(cells * _N_GENES + genes, return_counts=True)
        shape = (len(depths), _N_GENES)
        at = (places // _N_GENES, places % _N_GENES)
        parts.append(sp.csr_matrix((values.astype(np.float32), at), shape))
    together = sp.vstack(parts, format="csr")
    return together[rng.permutation(together.shape[0])]


@dataclass(frozen=True)
class World:
    """Cells by gene and by column, the genes of the columns, and a space but for its recipe."""

    by_gene: sp.csr_matrix
    cells: sp.csr_matrix
    columns: GeneColumns
    vectors: npt.NDArray[np.float32]
    idf: npt.NDArray[np.float32]

    @classmethod
    def make(cls, n_cells: int) -> "World":
        """Draw one."""
        by_gene = counts(n_cells)
        rng = np.random.default_rng(1)
        order = rng.permutation(_N_GENES)
        cells = by_gene[:, order]
        cells.sort_indices()
        detected = np.bincount(by_gene.indices, minlength=_N_GENES)
        return cls(
            by_gene,
            cells,
            gene_columns(order, _N_GENES),
            unit_rows(rng.standard_normal((_N_GENES, _DIM)).astype(np.float32)),
            np.log((1 + by_gene.shape[0]) / (1 + detected)).astype(np.float32),
        )

    def space(self, recipe: Recipe) -> CellSpace:
        """Return the space of a recipe."""
        ones = np.ones(_N_GENES, np.float32)
        weights = self.idf if recipe.gene_weighting == "idf" else ones
        taxa = np.zeros(_N_GENES, np.int32)
        center = np.zeros(_DIM, np.float32)
        ids = np.arange(_N_GENES)
        return CellSpace(recipe, ids, taxa, self.vectors, weights, ones > 0, center)

    def ours(self, recipe: Recipe, threads: int) -> Callable[[], object]:
        """Return the projection by the kernels."""
        space = self.space(recipe)
        return lambda: weighted_means(self.cells, self.columns, space, threads)

    def baseline(self, recipe: Recipe) -> Callable[[], npt.NDArray[np.float32]]:
        """Return the projection by argpartition and scipy, on one thread."""
        weights, top_n = self.space(recipe).weights, recipe.top_n

        def project() -> npt.NDArray[np.float32]:
            matrix = self.by_gene
            weighted = matrix.data * weights[matrix.indices]
            kept = []
            for begin, end in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
                row = weighted[begin:end]
                n = min(top_n, len(row))
                kept.append(begin + np.argpartition(row, len(row) - n)[len(row) - n :])
            ends = np.cumsum([0, *map(len, kept)])
            places = np.concatenate(kept)
            top = sp.csr_matrix((weighted[places], matrix.indices[places], ends), matrix.shape)
            top.data /= np.repeat(top.sum(axis=1).A1, np.diff(ends))
            means: npt.NDArray[np.float32] = top @ self.vectors
            return means

        return project


@njit(nogil=True)
def _count(n: int) -> float:
    total = 1.0
    for _ in range(n):
        total = total * 1.0000001 + 0.5
    return total


def counting(threads: int) -> Callable[[], object]:
    """Return arithmetic that needs nothing but a core, in two equal parts."""
    pool, n = ThreadPoolExecutor(threads), 20_000_000
    _count(1)
    return lambda: list(pool.map(_count, [n, n]))


@njit(nogil=True, fastmath=True)
def _read(values: npt.NDArray[np.float32]) -> np.float32:
    total = np.float32(0)
    for i in range(len(values)):  # by number: an iterator is not turned into vectors
        total += values[i]
    return total


def reading(n_bytes: int, threads: int) -> Callable[[], object]:
    """Return a pass over an array far larger than the caches, shared by threads."""
    parts = np.array_split(np.ones(n_bytes // 4, np.float32), threads)
    _read(parts[0][:1])
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(_read, parts))


def adding(world: World, recipe: Recipe, threads: int) -> tuple[Callable[[], object], int]:
    """Return only the adding up of vectors, and the bytes of vectors it adds."""
    block, space = Block.of(world.cells, world.columns.n_columns, 1, map), world.space(recipe)
    parts = np.array_split(np.arange(block.n_cells), max(threads, block.n_cells // BLOCK_CELLS))
    chooser = _Chooser.of(world.columns, space)
    chosen = [chooser.choose(block, part) for part in parts]
    means = [empty_aligned(len(part), _DIM).reshape(-1) for part in parts]
    flat = frozen(aligned(space.vectors).reshape(-1))

    def add(number: int) -> None:
        bounds, genes, shares = chosen[number]
        gather.add_vectors(
            bounds[:-1], bounds[1:].copy(), genes, shares, flat, _N_GENES, _DIM, means[number]
        )

    pool = ThreadPoolExecutor(threads)
    n_bytes = 4 * _DIM * sum(int(bounds[-1]) for bounds, _, _ in chosen)
    return lambda: list(pool.map(add, range(len(parts)))), n_bytes


def choosing(world: World, recipe: Recipe) -> Callable[[], object]:
    """Return only the choosing of genes, on one thread."""
    block = Block.of(world.cells, world.columns.n_columns, 1, map)
    chooser = _Chooser.of(world.columns, world.space(recipe))
    return lambda: chooser.choose(block, np.arange(block.n_cells))


def check(world: World, recipe: Recipe) -> Figure:
    """Compare both ways in double precision; ties are broken alike in cells that have none."""
    ours, _ = weighted_means(world.cells, world.columns, world.space(recipe))
    plain = world.baseline(recipe)()
    cosine = (ours.astype(np.float64) * plain).sum(1)
    cosine /= np.linalg.norm(ours.astype(np.float64), axis=1) * np.linalg.norm(plain, axis=1)
    return Figure(f"{recipe.name}: median cosine to the baseline", float(np.median(cosine)), "")


def projections(world: World, n_rounds: int) -> list[Figure]:
    """Measure whole projections."""
    n = world.cells.shape[0]
    named = {
        "top-200": _TOP_200,
        "text-v1 (top-1000, IDF)": TEXT_V1,
        "top-200, log1p": replace(_TOP_200, expression="log1p"),
    }
    ways = {f"{name}, 2 threads": world.ours(recipe, 2) for name, recipe in named.items()}
    for name in ("top-200", "text-v1 (top-1000, IDF)"):
        ways[f"{name}, 1 thread"] = world.ours(named[name], 1)
        ways[f"{name}, numpy and scipy"] = world.baseline(named[name])
    ways |= {"cores, 1 thread": counting(1), "cores, 2 threads": counting(2)}
    ways["top-200, choosing alone, 1 thread"] = choosing(world, _TOP_200)
    took = interleaved(ways, n_rounds)
    there = speedup(took.pop("cores, 1 thread"), took.pop("cores, 2 threads"))
    found = [Figure(name, n / wall_s(times), "cells/s") for name, times in took.items()]
    found += [
        Figure(f"{name}, per CPU-second", n / cpu_s(times), "cells/CPU-s")
        for name, times in took.items()
    ]
    for name, least in (("top-200", 4.0), ("text-v1 (top-1000, IDF)", None)):
        plain, one, two = (
            took[f"{name}, {way}"] for way in ("numpy and scipy", "1 thread", "2 threads")
        )
        ratio = f"{name}: 2 threads against numpy and scipy"
        found += [
            at_least(ratio, speedup(plain, two), "x", least)
            if least
            else Figure(ratio, speedup(plain, two), "x"),
            at_least(f"{name}: CPU time against numpy and scipy", cpu_speedup(plain, one), "x", 2),
            at_least(f"{name}: 2 threads against 1", speedup(one, two), "x", 1.8),
            # What else runs takes cores away; these two say how much of the figure above is that.
            Figure(f"{name}: the same by CPU time", 2 * cpu_speedup(one, two), "x"),
            Figure(f"{name}: the same of what cores are there", speedup(one, two) / there, ""),
        ]
    found.append(Figure("arithmetic alone: 2 threads against 1", there, "x"))
    return found


def bandwidths(world: World, n_rounds: int, n_bytes: int) -> list[Figure]:
    """Compare what is read from vectors with what memory could deliver."""
    ways: dict[str, Callable[[], object]] = {"memory": reading(n_bytes, 2)}
    sizes = {"memory": n_bytes}
    for name, recipe in {"top-200": _TOP_200, "text-v1": TEXT_V1, "all genes": _ALL}.items():
        ways[name], sizes[name] = adding(world, recipe, 2)
    took = interleaved(ways, n_rounds)
    rates = {name: sizes[name] / wall_s(times) / 1e9 for name, times in took.items()}
    found = [Figure("memory read, 2 threads", rates.pop("memory"), "GB/s")]
    for name, rate in rates.items():
        found.append(Figure(f"{name}: vectors added, 2 threads", rate, "GB/s"))
        n_more = sizes[name] / sizes["memory"]
        ratio = n_more * speedup(took["memory"], took[name])
        figure = f"{name}: vectors added against memory read"
        # The more genes a cell takes, the rarer they are, and the fewer are in a cache.
        found.append(
            at_least(figure, ratio, "x", 3) if name == "top-200" else Figure(figure, ratio, "x")
        )
    return found


def all_genes(world: World, n_rounds: int) -> list[Figure]:
    """Measure the projection that leaves no gene out."""
    n = world.cells.shape[0]
    square = np.random.default_rng(0).random((2048, 2048), np.float32)
    ways: dict[str, Callable[[], object]] = {
        "peak": lambda: square @ square,
        "sums": world.ours(_ALL, 2),
    }
    took = interleaved(ways, n_rounds)
    flops = dict.fromkeys(ways, 2.0 * n * _N_GENES * _DIM) | {"peak": 2.0 * 2048**3}

    def share(name: str) -> float:
        return float(flops[name] / flops["peak"] * speedup(took["peak"], took[name]))

    return [
        Figure("float32 matrix product, peak", flops["peak"] / wall_s(took["peak"]) / 1e9, "GF/s"),
        Figure("all genes: sums, 2 threads", n / wall_s(took["sums"]), "cells/s"),
        at_least("all genes: sums, as dense work, of the peak", share("sums"), "x", 0.25),
    ]


def first_calls() -> list[Figure]:
    """Measure a process's first projection, with nothing compiled and with all."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for state in ("cold", "warm"):
            out = subprocess.run(
                [sys.executable, "-c", _FIRST_CALL],
                env={**os.environ, "NUMBA_CACHE_DIR": folder},
                check=True, capture_output=True, text=True,
            ).stdout  # fmt: skip
            imported, called = map(float, out.split())
            found += [
                Figure(f"import, {state}", imported, "CPU-s"),
                Figure(f"first call, {state}", called, "CPU-s"),
            ]
    return found


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=8192, help="how many cells")
    parser.add_argument("--rounds", type=int, default=5, help="how many timed rounds")
    parser.add_argument("--read-gib", type=float, default=1.0, help="array read to time memory")
    add_options(parser)
    arguments = parser.parse_args()
    started = Timing(time.perf_counter(), time.process_time())
    notes = machine("numpy", "scipy", "numba")
    world = World.make(arguments.cells)
    found = [
        *projections(world, arguments.rounds),
        *bandwidths(world, arguments.rounds, int(arguments.read_gib * 2**30)),
        *all_genes(world, min(3, arguments.rounds)),
        check(world, TEXT_V1),
        *expression(world.by_gene, world.cells, world.columns.rows, arguments.rounds),
        *first_calls(),
    ]
    per_cell = np.diff(world.cells.indptr)
    share_ones = float((world.cells.data == 1).mean())
    wall, cpu = time.perf_counter() - started.wall_s, time.process_time() - started.cpu_s
    notes += [
        f"{len(per_cell)} synthetic cells of {np.median(per_cell):.0f} genes (median) out of "
        f"{_N_GENES}, {share_ones:.0%} of the values 1; {_DIM} dimensions",
        f"medians of {arguments.rounds} rounds in turns; wall {wall:.0f} s, CPU {cpu:.0f} s, "
        f"load average {os.getloadavg()[0]:.1f} at the end",
    ]
    return finish(arguments, "project", "Projection", notes, found)


if __name__ == "__main__":
    sys.exit(main())
