"""Publishing into a store whose disk has no room: a typed error, and nothing of it is there."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cellkin.store.cell_rows import write_rows
from cellkin.store.maintenance import damage
from cellkin.store.store import Store
from cellkin.wire.errors import ResourceExhaustedError


@contextmanager
def no_file_over(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, by the means of the system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _index(store: Store, _: pa.Table) -> None:
    def write(folder: Path) -> None:
        (folder / "a").write_bytes(bytes(5000))

    store.publish_index("x", write, {})


def _staged(store: Store, _: pa.Table) -> None:
    with store.staging("run", 2) as staging:
        vectors = np.random.default_rng(0).random((4000, 2), np.float32)
        staging.append([f"{i:064x}" for i in range(4000)], vectors)


def _rows(store: Store, table: pa.Table) -> None:
    write_rows(store.table_uri("cells-x"), table.schema, table.to_batches())


@pytest.mark.parametrize("limit", [0, 100, 3000])
@pytest.mark.parametrize(
    "publish",
    [lambda store, table: store.publish_corpus("genes", table, {}), _index, _staged, _rows],
    ids=["corpus", "index", "staging", "rows"],
)
def test_what_no_disk_has_room_for_is_refused_and_not_there(
    publish: Callable[[Store, pa.Table], None],
    limit: int,
    tmp_path: Path,
    make_corpus: Callable[[], pa.Table],
) -> None:
    store = Store.create(str(tmp_path / "s"))
    before = store.publish_corpus("genes", make_corpus(), {})
    with pytest.raises(ResourceExhaustedError, match="the disk is full"), no_file_over(limit):
        publish(store, make_corpus())
    assert store.catalog.entries() == [before]
    assert damage(store, before) == ""
    publish(store, make_corpus())
