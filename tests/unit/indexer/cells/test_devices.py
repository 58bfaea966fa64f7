"""Devices: which is taken, and that all of them give the same means."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.contract.exact_neighbors import ExactNeighborsTests
from tests.contract.projector import ProjectorTests
from tests.unit.space.awkward import N_GENES, space_of

from cellkin.indexer import devices as resolving
from cellkin.indexer.cells import devices
from cellkin.indexer.cells.torch_projection import TorchProjector
from cellkin.space.projection import (
    CellSpace,
    CpuProjector,
    GeneColumns,
    Projector,
    gene_columns,
)
from cellkin.space.recipe import TEXT_V1
from cellkin.wire.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    MissingDependencyError,
)

COLUMNS = gene_columns(np.arange(N_GENES), N_GENES)


class TestCpu(ProjectorTests):
    def projector(self, space: CellSpace, columns: GeneColumns) -> Projector:
        return devices.projector("cpu", space, columns, 2)


class TestTorchOnTheCpu(ProjectorTests):
    def projector(self, space: CellSpace, columns: GeneColumns) -> Projector:
        return TorchProjector(space, columns, "cpu")


class TestExactNeighbors(ExactNeighborsTests):
    pass


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
