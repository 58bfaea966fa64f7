"""A device that is not there is refused before any file is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cellkin.indexer.cells.engines import LocalEngine
from cellkin.indexer.cells.job import (
    Job,
    append_cells,
    index_by_expression,
    index_cells,
    place_like,
)
from cellkin.indexer.cells.ray_engine import RayEngine
from cellkin.indexer.cells.sources import Reference
from cellkin.space.recipe import TEXT_V1
from cellkin.store.store import Store
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError
from cellkin.wire.names import VersionName

NAME = VersionName("a")
MOON = Job(device="moon")


@pytest.mark.parametrize(
    "start",
    [
        lambda store, reference: index_cells(store, "a", reference, NAME, TEXT_V1, MOON),
        lambda store, reference: index_by_expression(store, "a", reference, job=MOON),
        lambda store, reference: place_like(store, "a", reference, NAME, MOON),
        lambda store, reference: append_cells(store, NAME, reference, MOON),
    ],
)
def test_it_is_refused_first(start: Callable[[Store, Reference], Any], tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "store"))
    with pytest.raises(InvalidArgumentError, match="device 'moon'"):
        start(store, Reference([tmp_path / "none.h5ad"], "cell_type"))


def test_a_gpu_is_looked_for_where_the_workers_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(device: str) -> str:
        raise FailedPreconditionError(device)

    monkeypatch.setattr("cellkin.indexer.cells.engines.resolve", absent)
    LocalEngine(1).require_device("auto")
    with pytest.raises(FailedPreconditionError, match="cuda:1"):
        LocalEngine(1).require_device("cuda:1")
    RayEngine(None, 1).require_device("cuda:1")
    with pytest.raises(InvalidArgumentError, match="device 'moon'"):
        RayEngine(None, 1).require_device("moon")
