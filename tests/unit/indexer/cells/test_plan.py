"""Shards cover every cell once; a sample takes from every shard."""

import pickle
from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from cellkin.indexer.cells.plan import SHARD_CELLS, sample_of, shards_of
from cellkin.indexer.cells.sources import SourceFile
from cellkin.matrices.scales import LINEAR
from cellkin.matrices.units import UnitsFinding

UNITS = UnitsFinding(LINEAR, "counts", whole=True)


def source(n_cells: int) -> SourceFile:
    columns = {name: pa.array(range(n_cells)) for name in ("id", "label", "batch")}
    return SourceFile(Path("x"), [], UNITS, pa.table(columns), "h5ad", False, False, [])


@given(st.lists(st.integers(0, 3 * SHARD_CELLS), min_size=1, max_size=4))
def test_shards_cover_every_cell_once_and_in_order(sizes: list[int]) -> None:
    shards = shards_of([source(n) for n in sizes])
    for number, n_cells in enumerate(sizes):
        rows = [i for s in shards if s.file == number for i in s.rows["id"].to_pylist()]
        assert rows == list(range(n_cells))
    assert all(0 < s.stop - s.start == len(s.rows) <= SHARD_CELLS for s in shards)


@given(st.integers(1, 6 * SHARD_CELLS), st.integers(1, 60_000))
def test_a_sample_takes_its_share_of_every_shard(n_cells: int, wanted: int) -> None:
    shards = shards_of([source(n_cells)])
    sample = sample_of(shards, wanted)
    taken = sum(s.stop - s.start for s in sample)
    assert min(wanted, n_cells) <= taken <= min(n_cells, wanted + len(shards))
    for whole, part in zip(shards, sample, strict=True):
        assert whole.start == part.start < part.stop <= whole.stop
        assert len(part.rows) == 0


def test_a_shard_is_sent_without_the_rest_of_its_file() -> None:
    shards = shards_of([source(20 * SHARD_CELLS)])
    packed = pickle.dumps(shards[3])
    assert len(packed) < 2 * shards[3].rows.nbytes
    sent = pickle.loads(packed)
    assert (sent.file, sent.start, sent.stop) == (0, 3 * SHARD_CELLS, 4 * SHARD_CELLS)
    assert sent.rows.equals(shards[3].rows)
    nothing = pickle.loads(pickle.dumps(sample_of(shards, 100)[3])).rows
    assert nothing.schema == shards[3].rows.schema
    assert len(nothing) == 0
