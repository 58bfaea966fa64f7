"""Devices: which is taken, and that all of them give the same means."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from tests.contract.exact_neighbors import ExactNeighborsTests
from tests.contract.projector import ProjectorTests
from tests.unit.space import reference
from tests.unit.space.awkward import N_GENES, space_of

from cellkin.indexer import devices as resolving
from cellkin.indexer.cells import devices
from cellkin.indexer.cells.torch_projection import Bf16Projector, TorchProjector
from cellkin.space.projection import (
    CellSpace,
    CpuProjector,
    GeneColumns,
    Projector,
    gene_columns,
    weighted_means,
)
from cellkin.space.recipe import TEXT_V1
from cellkin.wire.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    MissingDependencyError,
)

COLUMNS = gene_columns(np.arange(N_GENES), N_GENES)


class TestCpu(ProjectorTests):
    @pytest.fixture(autouse=True)
    def without_tiles(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a CPU with tiles of bfloat16 does is less exact, and has a test of its own."""
        monkeypatch.setattr(devices, "_cpu_has_amx", lambda: False)

    def projector(self, space: CellSpace, columns: GeneColumns) -> Projector:
        return devices.projector("cpu", space, columns, 2)


class TestTorchOnTheCpu(ProjectorTests):
    def projector(self, space: CellSpace, columns: GeneColumns) -> Projector:
        return TorchProjector(space, columns, "cpu")


class TestExactNeighbors(ExactNeighborsTests):
    pass


def test_bfloat16_is_near_enough_to_the_definition() -> None:
    """Cells of 2 to 60 % of the genes: products in bfloat16 above a tenth, plain sums below."""
    rng = np.random.default_rng(0)
    n_genes = 1500
    vectors = rng.standard_normal((n_genes, 96)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    density = np.linspace(0.02, 0.6, 300)[:, None]
    counts = rng.geometric(0.6, (300, n_genes)) * (rng.random((300, n_genes)) < density)
    weights = rng.random(n_genes).astype(np.float32)
    space = space_of(replace(TEXT_V1, top_n=0), weights, vectors)
    columns = gene_columns(np.arange(n_genes), n_genes)
    (got, empty), *_ = Bf16Projector(space, columns, 2).means([sp.csr_matrix(counts)])
    rows = np.arange(n_genes)
    want = reference.weighted_means(counts[::13], rows, weights, vectors, space.recipe)
    some = got[::13].astype(np.float64)
    cosine = (some * want).sum(1) / np.linalg.norm(some, axis=1) / np.linalg.norm(want, axis=1)
    assert cosine.min() >= 0.9999
    plain, _ = weighted_means(sp.csr_matrix(counts), columns, space)
    alike = (got == plain).all(axis=1)
    assert alike.tolist() == (np.count_nonzero(counts, axis=1) <= 150).tolist()
    assert not empty.any()


def test_tiles_are_used_for_all_genes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_cpu_has_amx", lambda: True)
    every = space_of(replace(TEXT_V1, top_n=0))
    assert isinstance(devices.projector("cpu", every, COLUMNS, 1), Bf16Projector)
    assert isinstance(devices.projector("cpu", space_of(TEXT_V1), COLUMNS, 1), CpuProjector)
    monkeypatch.undo()
    if not torch.cpu._is_amx_tile_supported():
        assert isinstance(devices.projector("cpu", every, COLUMNS, 1), CpuProjector)


def test_without_a_driver_auto_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "_has_driver", lambda: False)
    assert isinstance(devices.projector("auto", space_of(TEXT_V1), COLUMNS, 3), CpuProjector)


def test_with_a_driver_and_no_device_auto_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "_has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert isinstance(devices.projector("auto", space_of(TEXT_V1), COLUMNS, 3), CpuProjector)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_that_is_not_there_is_said_to_be_missing(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(FailedPreconditionError, match=rf"'{device}' is asked for.*sees [01] CUDA"):
        devices.projector(device, space_of(TEXT_V1), COLUMNS, 1)


def test_cuda_without_torch_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"cellkin\[embed\]"):
        devices.projector("cuda", space_of(TEXT_V1), COLUMNS, 1)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "", "CPU"])
def test_another_device_is_refused(device: str) -> None:
    with pytest.raises(InvalidArgumentError, match="give auto, cpu, cuda or cuda:N"):
        devices.projector(device, space_of(TEXT_V1), COLUMNS, 1)


def test_the_cpu_takes_no_torch() -> None:
    assert importlib.util.find_spec("torch")
    script = (
        "import sys, numpy\n"
        "from tests.unit.space.awkward import space_of\n"
        "from cellkin.indexer.cells.devices import projector\n"
        "from cellkin.space.projection import gene_columns\n"
        "from cellkin.space.recipe import TEXT_V1\n"
        "projector('cpu', space_of(TEXT_V1), gene_columns(numpy.arange(12), 12), 1)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[4])
