"""The suites of the CPU on a CUDA device."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from tests.contract.exact_neighbors import ExactNeighborsTests
from tests.contract.projector import ProjectorTests, counts_of
from tests.unit.space.awkward import space_of

from cellkin.indexer.cells.devices import projector
from cellkin.indexer.cells.torch_projection import TorchProjector
from cellkin.space.projection import (
    CellSpace,
    GeneColumns,
    Projector,
    gene_columns,
    weighted_means,
)
from cellkin.space.recipe import TEXT_V1

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


class TestCuda(ProjectorTests):
    def projector(self, space: CellSpace, columns: GeneColumns) -> Projector:
        return projector("cuda", space, columns, 1)


class TestExactNeighborsOnCuda(ExactNeighborsTests):
    device = "cuda"


def test_auto_takes_the_device() -> None:
    columns = gene_columns(np.arange(12), 12)
    assert isinstance(projector("auto", space_of(TEXT_V1), columns, 1), TorchProjector)


def test_a_stream_of_blocks_of_many_sizes_is_that_of_the_cpu() -> None:
    """Buffers are used again and grow while what they held is still on its way."""
    n_genes = 3000
    vectors = np.random.default_rng(0).standard_normal((n_genes, 384)).astype(np.float32)
    space = space_of(TEXT_V1, vectors=vectors)
    columns = gene_columns(np.random.default_rng(1).permutation(n_genes), n_genes)
    cells = counts_of(6000, n_genes, 0.1)
    cuts = np.cumsum([0, 10, 2000, 5, 1500, 1, 2000, 484])
    blocks: list[sp.csr_matrix] = [cells[a:b] for a, b in itertools.pairwise(cuts)]
    parts = list(projector("cuda", space, columns, 1).means(blocks))
    want, _ = weighted_means(cells, columns, space)
    np.testing.assert_allclose(np.vstack([means for means, _ in parts]), want, atol=2e-6)
