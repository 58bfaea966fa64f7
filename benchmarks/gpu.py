"""Measure projection and exact search on CUDA, as shares of the memory bandwidth of the device.

Cells are those of benchmarks/project.py, repeated; vectors to search are random. Without CUDA there
is nothing to measure, and the script says so.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse as sp
import torch
from project import _TOP_200, World
from report import Figure, add_options, at_least, at_most, finish, machine

from cellkin.indexer.cells.torch_projection import TorchProjector
from cellkin.indexer.neighbors.torch_exact import exact_neighbors
from cellkin.space.projection import weighted_means
from cellkin.space.recipe import TEXT_V1, Recipe

_BLOCK_CELLS = 16_384
_DIM, _K, _N_QUERIES = 384, 30, 1024


def seconds(work: Callable[[], object], n_rounds: int) -> float:
    """Return the median time of some work on the device, to its end."""
    took = []
    for n_done in range(-1, n_rounds):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if n_done >= 0:
            took.append(time.perf_counter() - started)
    return statistics.median(took)


def bandwidth(n_rounds: int) -> float:
    """Return the bytes a second that a copy within the device reads and writes."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * len(source) / seconds(lambda: target.copy_(source), n_rounds)


def projection(world: World, recipe: Recipe, n_cells: int, n_rounds: int) -> list[Figure]:
    """Measure a projection, its cells on the device and streamed to it."""
    space, name = world.space(recipe), recipe.name
    times = -(-_BLOCK_CELLS // world.cells.shape[0])
    block = sp.vstack([world.cells] * times, format="csr")[:_BLOCK_CELLS]
    n_blocks = max(1, round(n_cells / _BLOCK_CELLS))
    device = TorchProjector(space, world.columns, "cuda")
    arrays = (
        torch.from_numpy(block.indptr.astype(np.int64)).cuda(),
        torch.from_numpy(block.indices.astype(np.int32)).cuda(),
        torch.from_numpy(block.data).cuda(),
    )

    def resident() -> None:
        for _ in range(n_blocks):
            device.resident_means(*arrays)

    def blocks() -> Iterator[sp.csr_matrix]:
        for _ in range(n_blocks):
            yield block

    def streamed() -> None:
        for _ in device.means(blocks()):
            pass

    n = n_blocks * _BLOCK_CELLS
    # What must be read and written at least: the matrix, and the means.
    n_bytes = n_blocks * (8 * block.nnz + 4 * _DIM * _BLOCK_CELLS)
    share = n_bytes / seconds(resident, n_rounds) / bandwidth(n_rounds)
    means, _ = next(device.means(iter([world.cells])))
    want, _ = weighted_means(world.cells, world.columns, space)
    return [
        Figure(f"{name}: resident", n / seconds(resident, n_rounds), "cells/s"),
        Figure(f"{name}: streamed", n / seconds(streamed, n_rounds), "cells/s"),
        Figure(f"{name}: resident, of the bandwidth", share, ""),
        at_most(
            f"{name}: greatest difference to the CPU", float(abs(means - want).max()), "", 2e-6
        ),
    ]


def search(n_vectors: int, n_rounds: int) -> list[Figure]:
    """Measure exact search among vectors that are handed over in batches."""
    n_batch = 1_000_000
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(n_batch, _DIM, generator=generator)
    vectors = torch.nn.functional.normalize(batch).numpy()
    n_batches = n_vectors // n_batch
    queries = vectors[:_N_QUERIES]
    ids = exact_neighbors(queries, [vectors], 1, "cuda")[1]
    took = seconds(lambda: exact_neighbors(queries, [vectors] * n_batches, _K, "cuda"), n_rounds)
    name = f"exact search, {n_vectors / 1e6:g}M vectors, handed over each time"
    found = (ids[:, 0] == np.arange(_N_QUERIES)).mean()
    return [
        Figure(name, _N_QUERIES / took, "queries/s"),
        at_least(f"{name}: queries that find themselves", float(found), "", 1),
    ]


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=1_000_000, help="how many cells")
    parser.add_argument("--rounds", type=int, default=3, help="how many timed rounds")
    add_options(parser)
    arguments = parser.parse_args()
    notes = machine("torch")
    if not torch.cuda.is_available():
        reason = f"skipped: torch {torch.__version__} sees no CUDA device"
        # What an earlier run wrote from a machine that has one stays.
        arguments.no_docs = True
        return finish(arguments, "gpu", "Accelerators", [*notes, reason], [])
    notes.append(f"{torch.cuda.get_device_name()}, blocks of {_BLOCK_CELLS} cells")
    world = World.make(4096)
    found = [
        *projection(world, _TOP_200, arguments.cells, arguments.rounds),
        *projection(world, TEXT_V1, arguments.cells, arguments.rounds),
        *search(1_000_000, arguments.rounds),
        *search(10_000_000, arguments.rounds),
    ]
    return finish(arguments, "gpu", "Accelerators", notes, found)


if __name__ == "__main__":
    sys.exit(main())
