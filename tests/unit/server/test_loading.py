"""Which of its cells an index is tested by before it is served."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cellkin.server import loading
from cellkin.server.loading import IndexLoader, _probes
from cellkin.server.metrics import Metrics
from cellkin.server.searching import DeviceSearch, DirectSearch
from cellkin.store.cell_index import CellIndex
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.neighbors_device import TorchDevice
from cellkin.store.row_digests import BLOCK_ROWS


@pytest.mark.parametrize("n", [1, 5, 64, 700, BLOCK_ROWS, BLOCK_ROWS + 1, 100_000, 2_000_000])
def test_cells_of_a_few_blocks_are_asked(n: int) -> None:
    rows = _probes(n, "a digest")
    assert (np.diff(rows) > 0).all()
    assert 0 <= rows[0] <= rows[-1] < n
    assert len(np.unique(rows // BLOCK_ROWS)) == min(8, -(-n // BLOCK_ROWS))
    assert len(rows) >= min(n, 33)
    assert len(rows) <= 64


def test_another_version_is_asked_for_others_and_the_same_for_the_same() -> None:
    rows = _probes(100_000, "a digest")
    assert np.array_equal(rows, _probes(100_000, "a digest"))
    assert not np.array_equal(rows, _probes(100_000, "another"))


def test_an_index_that_was_loaded_again_keeps_its_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells: Any = SimpleNamespace(ids=[], batches=[])
    index = CellIndex(cells, None, None)
    store: Any = SimpleNamespace(index_folder=lambda entry, again: tmp_path)
    entry: Any = SimpleNamespace(full_name="trio@1", manifest={"files": [], "n_cells": 3})
    for name in ("test_index", "_vectors", "cell_table", "Strings"):
        monkeypatch.setattr(loading, name, lambda *_: None)
    monkeypatch.setattr(loading, "read_cell_index", lambda folder: index)
    metrics = Metrics()
    loader = IndexLoader(store, metrics, 1)

    def n_cells() -> float | None:
        labels = {"index": "trio@1"}
        return metrics.registry.get_sample_value("cellkin_index_cells", labels)

    loaded = loader.load(entry, lambda: None)  # type: ignore[arg-type, return-value]
    del loaded
    loaded = loader.load(entry, lambda: None)  # type: ignore[arg-type, return-value]
    assert loader.unload() == ["trio@1"]
    assert n_cells() == 3
    del loaded
    assert loader.unload() == ["trio@1"]
    assert n_cells() is None


class Full(TorchDevice):
    """A device without room."""

    def place(self, index: Any) -> Any:
        raise RuntimeError("first\nout of memory")


def test_an_index_that_a_device_has_no_room_for_is_searched_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[Any] = []
    monkeypatch.setattr(loading, "_log", SimpleNamespace(warning=lambda *a, **k: said.append(k)))
    store: Any = None
    index = NeighborIndex.build(np.eye(4, dtype=np.float32))
    placed = IndexLoader(store, Metrics(), 1, TorchDevice("cpu"))._shared(index, "trio@1")
    assert isinstance(placed, DeviceSearch)
    assert not said
    kept = IndexLoader(store, Metrics(), 1, Full("cuda:0"))._shared(index, "trio@1")
    assert isinstance(kept, DirectSearch)
    assert said == [{"index": "trio@1", "device": "cuda:0", "error": "out of memory"}]
