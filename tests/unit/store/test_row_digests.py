"""Rows of cells are compared with their digests where they are read, each block once."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from cellkin.store import row_digests
from cellkin.store.catalog import Entry
from cellkin.store.cell_rows import vector_matrix, write_rows
from cellkin.store.cell_table import CellTable, cell_table, check_rows, commit_rows, table_name
from cellkin.store.row_digests import BLOCK_ROWS, ROW_DIGESTS
from cellkin.store.schema import cells_schema
from cellkin.store.store import Store
from cellkin.wire.errors import CellkinError, IntegrityError, UnavailableError

DIM, N = 8, 3 * BLOCK_ROWS + 100
SCHEMA = cells_schema(DIM, 0)
VECTORS = np.random.default_rng(0).standard_normal((N, DIM)).astype(np.float32)


def rows(first: int, stop: int, label: str = "a") -> pa.RecordBatch:
    flat = pa.array(VECTORS[first:stop].reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, type=SCHEMA.field("vector").type)
    n = stop - first
    names = [pa.array([f"c{i:05}" for i in range(first, stop)]), pa.array([label] * n)]
    return pa.RecordBatch.from_arrays([*names, pa.array([""] * n), vectors], schema=SCHEMA)


def commit(store: Store, *batches: pa.RecordBatch, base: CellTable | None = None) -> CellTable:
    uri = store.table_uri(table_name("x"))
    parts = [part for batch in batches for part in write_rows(uri, SCHEMA, [batch])]
    return commit_rows(store, "x", SCHEMA, [*(base.parts() if base else []), *parts])


def publish(store: Store, cells: CellTable, by_block: bool = True) -> Entry:
    def write(folder: Path) -> None:
        (folder / "other").write_text("")
        if by_block:
            cells.row_digests.save(folder)

    return store.publish_index("x", write, cells.to_manifest())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "store"))


@pytest.fixture
def cells(store: Store) -> CellTable:
    """Two parts, so that a block lies in both."""
    return commit(store, rows(0, 1500), rows(1500, N))


def data_of(store: Store) -> list[Path]:
    return sorted((Path(store.uri) / "cells-x.lance" / "data").iterdir())


def flip(store: Store, row: int) -> None:
    """Flip the lowest bit of the first number of a row's vector."""
    for path in data_of(store):
        data = bytearray(path.read_bytes())
        at = data.find(VECTORS[row].tobytes())
        if at >= 0:
            data[at] ^= 1
            path.write_bytes(data)
            return
    raise AssertionError("the vector is not met as it is")


def relabel(store: Store, label: str) -> None:
    """Put files of the same rows with another label in the place of those there are."""
    there = {path: path.stat().st_size for path in data_of(store)}
    commit(store, rows(0, 1500, label), rows(1500, N, label))
    for path in data_of(store):
        if path not in there:
            (old,) = [p for p, size in there.items() if size == path.stat().st_size]
            path.replace(old)


READS: list[Callable[[CellTable], object]] = [
    lambda c: list(c.batches(["vector"])),
    lambda c: c.take_vectors(np.array([2]), "vector"),
    lambda c: c.take_vectors(np.array([5, 2 * BLOCK_ROWS]), "vector"),
]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("by_block", [True, False])
def test_a_flipped_bit_of_a_vector_is_refused(
    store: Store, cells: CellTable, read: Callable[[CellTable], object], by_block: bool
) -> None:
    entry = publish(store, cells, by_block)
    read(cell_table(store, entry))
    flip(store, 700)
    with pytest.raises(IntegrityError, match="digest"):
        read(cell_table(store, entry))
    with pytest.raises(IntegrityError, match="digest"):
        check_rows(store, entry)


def test_blocks_that_are_whole_are_read_beside_one_that_is_not(
    store: Store, cells: CellTable
) -> None:
    entry = publish(store, cells)
    flip(store, 1600)
    found = cell_table(store, entry)
    wanted = np.array([3, 9, BLOCK_ROWS - 1, 2 * BLOCK_ROWS, N - 1])
    assert np.array_equal(found.take_vectors(wanted, "vector"), VECTORS[wanted])
    assert len(found.column("id")) == N
    with pytest.raises(IntegrityError, match="rows 1024 to 2047"):
        found.take_vectors(np.array([3, 1024]), "vector")


@pytest.mark.parametrize("column", ["id", "label", "batch"])
def test_names_that_were_changed_are_refused(store: Store, cells: CellTable, column: str) -> None:
    entry = publish(store, cells)
    assert cell_table(store, entry).column("label").to_pylist() == ["a"] * N
    relabel(store, "b")
    found = cell_table(store, entry)
    assert np.array_equal(found.take_vectors(np.array([7]), "vector"), VECTORS[[7]])
    with pytest.raises(IntegrityError, match="digest"):
        found.column(column)
    with pytest.raises(IntegrityError, match="digest"):
        list(found.batches())


def test_a_block_is_compared_once(
    store: Store, cells: CellTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = cell_table(store, publish(store, cells))
    compared: list[int] = []
    digest = row_digests._digest

    def counted(columns: pa.RecordBatch) -> bytes:
        compared.append(len(columns))
        return digest(columns)

    monkeypatch.setattr(row_digests, "_digest", counted)
    some = np.array([0, 1, N - 1])
    for _ in range(2):
        assert np.array_equal(found.take_vectors(some, "vector"), VECTORS[some])
    assert compared == [BLOCK_ROWS, N % BLOCK_ROWS]
    for _ in range(2):
        read = [vector_matrix(batch["vector"]) for batch in found.batches(["vector"])]
        assert np.array_equal(np.concatenate(read), VECTORS)
    assert compared[2:] == [BLOCK_ROWS, BLOCK_ROWS]
    every = np.arange(0, N, 3)
    assert np.array_equal(found.take_vectors(every, "vector"), VECTORS[every])
    assert len(compared) == 4


def test_without_digests_of_blocks_all_is_compared_once_on_a_machine(
    store: Store, cells: CellTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = publish(store, cells, by_block=False)
    assert ROW_DIGESTS not in entry.manifest["files"]
    compared: list[str] = []
    require = CellTable.require_digest

    def counted(cells: CellTable, digest: str) -> None:
        compared.append(digest)
        require(cells, digest)

    monkeypatch.setattr(CellTable, "require_digest", counted)
    for _ in range(2):
        cell_table(Store.open(store.uri), entry)
    assert compared == [cells.digest]
    os.utime(data_of(store)[0])
    cell_table(store, entry)
    assert compared == [cells.digest] * 2


def test_what_was_damaged_since_its_digest_was_taken_is_not_built_from(
    store: Store, cells: CellTable
) -> None:
    assert cells.digest
    flip(store, 2)
    # A file that is open may have been read ahead.
    again = CellTable("x", cells._dataset, digests=cells.row_digests)
    with pytest.raises(IntegrityError, match="rows 0 to 1023"):
        list(again.batches())


@pytest.mark.parametrize("n_base", [2 * BLOCK_ROWS, 2 * BLOCK_ROWS + 7, 5])
def test_rows_begin_with_those_they_were_appended_to(store: Store, n_base: int) -> None:
    base = commit(store, rows(0, n_base))
    commit(store, rows(n_base, N), base=base).require_start(base)
    for changed in (0, n_base - 1):
        parts = [rows(0, changed), rows(changed, changed + 1, "b"), rows(changed + 1, N)]
        other = commit(store, *(part for part in parts if len(part)))
        with pytest.raises(IntegrityError):
            other.require_start(base)


@pytest.mark.parametrize("damage", ["cut", "gone", "no manifest", "a manifest of an unknown type"])
@pytest.mark.parametrize("by_block", [True, False])
def test_a_table_that_lance_cannot_read_is_damaged_and_no_bug(
    store: Store, cells: CellTable, damage: str, by_block: bool
) -> None:
    entry = publish(store, cells, by_block)
    manifests = list((Path(store.uri) / "cells-x.lance" / "_versions").glob("*.manifest"))
    for path in manifests if "manifest" in damage else data_of(store):
        if damage == "gone":
            path.unlink()
        elif damage == "a manifest of an unknown type":
            kind = b"fixed_size_list:float"
            assert kind in path.read_bytes()
            path.write_bytes(path.read_bytes().replace(kind, b"fihed_size_list:float"))
        else:
            path.write_bytes(path.read_bytes()[:40])
    for read in READS:
        with pytest.raises(IntegrityError, match="restore a backup or index the cells again"):
            read(cell_table(Store.open(store.uri), entry))


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is permitted to root")
def test_a_table_that_may_not_be_read_is_not_called_damaged(store: Store, cells: CellTable) -> None:
    entry = publish(store, cells)
    for path in data_of(store):
        path.chmod(0)
    with pytest.raises(UnavailableError):
        cell_table(store, entry).take_vectors(np.array([0]), "vector")


def test_who_may_read_other_files_may_read_the_digests(tmp_path: Path, cells: CellTable) -> None:
    (tmp_path / "other").write_text("")
    cells.row_digests.save(tmp_path)
    assert (tmp_path / ROW_DIGESTS).stat().st_mode == (tmp_path / "other").stat().st_mode


def test_rows_that_are_fewer_than_the_catalog_says_are_refused(
    store: Store, cells: CellTable
) -> None:
    entry = publish(store, cells)
    entry = replace(entry, manifest={**entry.manifest, "n_cells": N + 1})
    with pytest.raises(CellkinError, match="where the catalog says"):
        cell_table(store, entry)


def test_vectors_of_another_type_are_damage(store: Store, cells: CellTable) -> None:
    entry = publish(store, cells)
    batch = rows(0, N)
    names = pa.array([str(i) for i in range(N)])
    other = pa.table({"id": batch["id"], "label": batch["label"], "batch": batch["batch"],
                      "vector": names})  # fmt: skip
    uri = Path(store.table_uri(table_name("x")))
    shutil.rmtree(uri)
    for _ in range(entry.manifest["table_version"]):
        lance.write_dataset(other, str(uri), mode="overwrite")
    damaged = cell_table(store, entry)
    with pytest.raises(IntegrityError, match="where vectors are expected"):
        damaged.take_vectors(np.array([5]), "vector")
    with pytest.raises(IntegrityError, match="where vectors are expected"):
        list(damaged.batches(["vector"]))
