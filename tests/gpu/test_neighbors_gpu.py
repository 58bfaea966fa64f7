"""What a GPU takes over in building an index gives what the CPU gives."""

from pathlib import Path

import numpy as np
import pytest
from tests.unit.indexer.neighbors.array_vectors import ArrayVectors

from cellkin.indexer.neighbors import gpu
from cellkin.indexer.neighbors.build import build_neighbors
from cellkin.space.vectors import unit_rows
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.neighbors_faiss import faiss

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not faiss.get_num_gpus(), reason="FAISS finds no GPU"),
]

MATRIX = unit_rows(np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32))


def test_exact_search_agrees_with_the_cpu() -> None:
    similarities, rows = gpu.nearest(MATRIX[:100], [MATRIX[:9000], MATRIX[9000:]], 128)
    exact = MATRIX[:100] @ MATRIX.T
    np.testing.assert_allclose(similarities, -np.sort(-exact, axis=1)[:, :128], atol=1e-3)
    np.testing.assert_array_equal(rows[:, 0], np.arange(100))


def test_the_file_of_an_index_trained_on_a_gpu_is_the_cpu_form(tmp_path: Path) -> None:
    built = build_neighbors(ArrayVectors(MATRIX), "IVF128,RaBitQ,Refine(SQfp16)", 0.9)
    assert built.certificate.reached
    built.index.save(tmp_path / "i.faiss")
    loaded = NeighborIndex.load(tmp_path / "i.faiss")
    np.testing.assert_array_equal(
        loaded.search(MATRIX[:50], 10)[1], built.index.search(MATRIX[:50], 10)[1]
    )
