"""Rows of cells: parts that become a version, versions of other widths, digests."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cellkin.space.vectors import unit_rows
from cellkin.store.cell_rows import vector_matrix, write_rows
from cellkin.store.cell_table import CellTable, commit_rows, table_name
from cellkin.store.cell_vectors import CellVectors
from cellkin.store.schema import cells_schema
from cellkin.store.store import Store


def rows(n: int, widths: tuple[int, int], first: int = 0) -> pa.RecordBatch:
    schema = cells_schema(*widths)
    numbers = np.arange(first, first + n)
    columns = [pa.array([f"c{i}" for i in numbers]), pa.array(["a"] * n), pa.array([""] * n)]
    for width, field in zip(widths, list(schema)[3:], strict=False):
        values = np.random.default_rng(first).standard_normal(n * width).astype(np.float32)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(values), width)
        columns.append(vectors.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def write(store: Store, *batches: pa.RecordBatch) -> list[str]:
    uri, schema = store.table_uri(table_name("x")), batches[0].schema
    return [part for batch in batches for part in write_rows(uri, schema, [batch])]


def commit(store: Store, *batches: pa.RecordBatch) -> CellTable:
    return commit_rows(store, "x", batches[0].schema, write(store, *batches))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(str(tmp_path / "store"))


@pytest.mark.parametrize("widths", [(6, 0), (4, 5), (9, 3)])
def test_a_version_may_have_vectors_of_other_widths(store: Store, widths: tuple[int, int]) -> None:
    first = commit(store, rows(5, (4, 3)), rows(2, (4, 3), 5))
    digest = first.digest
    other = commit(store, rows(7, widths))
    assert (other.dim, other.expression_dim) == widths
    assert other.schema == cells_schema(*widths)
    assert (first.n_cells, first.dim, first.expression_dim) == (7, 4, 3)
    assert CellTable("x", first._dataset).digest == digest
    assert other.version > first.version


def test_parts_of_one_version_go_on_in_the_next(store: Store) -> None:
    first = commit(store, rows(5, (4, 3)))
    added = rows(2, (4, 3), 5)
    both = commit_rows(store, "x", first.schema, [*first.parts(), *write(store, added)])
    assert both.column("id").to_pylist() == [f"c{i}" for i in range(7)]
    taken = both.take_vectors(np.array([4, 6]), "expression")
    want = [vector_matrix(part["expression"]) for part in (rows(5, (4, 3)), added)]
    assert np.array_equal(taken, np.stack([want[0][4], want[1][1]]))


def test_the_digest_is_of_rows_whatever_their_parts(store: Store) -> None:
    whole = commit(store, rows(5, (4, 3)))
    batch = rows(5, (4, 3))
    cut = commit(store, batch.slice(0, 2), batch.slice(2))
    assert cut.digest == whole.digest
    changed = commit(store, rows(5, (4, 3), 1))
    assert changed.digest != whole.digest


def test_vectors_of_expression_are_leading_dimensions(store: Store) -> None:
    cells = commit(store, rows(5, (4, 3)))
    vectors = CellVectors.of_expression(cells, 2)
    stored = vector_matrix(rows(5, (4, 3))["expression"])
    want = unit_rows(np.ascontiguousarray(stored[:, :2]))
    assert (vectors.n, vectors.dim) == (5, 2)
    assert np.array_equal(np.concatenate(list(vectors.batches())), want)
    assert np.array_equal(vectors.take(np.array([1, 3])), want[[1, 3]])
    ((ids, labels, named),) = vectors.named()
    assert (ids, labels) == ([f"c{i}" for i in range(5)], ["a"] * 5)
    assert np.array_equal(named, want)
