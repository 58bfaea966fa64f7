"""Rows of matrices that are not tidy, blocks and their limits, memory."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from tests.unit.matrices import conftest as made

from cellkin.matrices.cells import open_cells, open_matrix
from cellkin.matrices.hdf5 import hdf5_ranges
from cellkin.matrices.ranges import RangeReader
from cellkin.wire.errors import InputFileError, InvalidArgumentError

Make = Callable[[str, anndata.AnnData], Path]


def write_csr(path: Path, rows: list[list[tuple[int, float]]], n_columns: int) -> Path:
    """A file whose rows are exactly these, in this order."""
    data = made.sample(n_cells=len(rows))[:, :n_columns].copy()
    data.raw = None
    data.write_h5ad(path)
    flat = [pair for row in rows for pair in row]
    with h5py.File(path, "r+") as file:
        del file["X/data"], file["X/indices"], file["X/indptr"]
        file["X/data"] = np.array([value for _, value in flat], np.float32)
        file["X/indices"] = np.array([column for column, _ in flat], np.int32)
        file["X/indptr"] = np.cumsum([0, *map(len, rows)])
    return path


def test_unsorted_repeated_and_zero_entries_are_tidied(tmp_path: Path) -> None:
    rows = [
        [(4, 1.0), (0, 2.0)],
        [(3, 1.0), (1, 5.0), (3, 2.0)],
        [],
        [(2, 0.0), (3, 7.0)],
        [(1, 0.0)],
    ]
    with open_matrix(write_csr(tmp_path / "a.h5ad", rows, 5)) as matrix:
        block = matrix.rows(0, 5)
        assert block.indices.tolist() == [0, 4, 1, 3, 3]
        assert block.data.tolist() == [2, 1, 5, 3, 7]
        assert block.indptr.tolist() == [0, 2, 4, 4, 5, 5]


@pytest.mark.parametrize("form", ["h5ad", "h5ad dense", "zarr v3", "10x h5", "loom"])
@pytest.mark.parametrize("limits", [{"max_cells": 1}, {"max_values": 1}, {"max_values": 60}, {}])
def test_blocks_cover_every_cell_once(
    form: str, limits: dict[str, int], data: anndata.AnnData, make_form: Make
) -> None:
    with open_matrix(make_form(form, data)) as matrix:
        blocks = list(matrix.blocks(**limits))
        some = list(matrix.blocks(11, 57, **limits))
    np.testing.assert_array_equal(sp.vstack(blocks).toarray(), data.X.toarray())
    np.testing.assert_array_equal(sp.vstack(some).toarray(), data.X[11:57].toarray())
    if "max_cells" in limits or limits.get("max_values") == 1:
        assert len(blocks) >= 89
    if form == "h5ad":
        most = limits.get("max_values", 400_000)
        assert all(block.nnz <= most or block.shape[0] == 1 for block in blocks)


def test_blocks_are_the_readers_own(data: anndata.AnnData, make_form: Make) -> None:
    with open_matrix(make_form("zarr v3", data)) as matrix:
        first = matrix.rows(0, 10)
        first.data[:] = -1
        np.testing.assert_array_equal(matrix.rows(0, 12).toarray(), data.X[:12].toarray())


@pytest.mark.parametrize("axis", [0, 1])
def test_ranges_of_chunks(tmp_path: Path, axis: int) -> None:
    values = np.arange(70 * 6).reshape((70, 6) if axis == 0 else (6, 70))
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        chunks = (16, 2) if axis == 0 else (2, 16)
        array = file.create_dataset("a", data=values, chunks=chunks, compression="gzip")
        reader = RangeReader(array, axis, whole_chunks=True)
        ranges = [(0, 5), (5, 16), (16, 16), (15, 40), (40, 69), (69, 70), (0, 70)]
        ranges += [tuple(sorted(rng.integers(0, 71, 2))) for _ in range(60)]
        for start, stop in ranges:
            part = (slice(None),) * axis + (slice(start, stop),)
            got = reader.read(int(start), int(stop))
            np.testing.assert_array_equal(got, values[part])
            assert not np.shares_memory(got, reader.read(int(start), int(stop)))


@pytest.mark.parametrize("form", ["h5ad", "h5ad dense", "zarr v3"])
@pytest.mark.parametrize(
    ("value", "message"),
    [(-2.0, "values down to -2; centered or scaled"), (np.nan, "not finite"), (np.inf, "not fini")],
)
def test_values_that_are_no_expression_are_refused_wherever_they_are(
    form: str, value: float, message: str, make_form: Make
) -> None:
    data = made.sample(n_cells=800)
    # Not among the cells that are sampled.
    data.X.data[data.X.indptr[30]] = value
    with open_cells(make_form(form, data)) as cells:
        with pytest.raises(InvalidArgumentError, match=f"{message}.+--layer doubled"):
            list(cells.blocks())
        assert cells.matrix.rows(100, 400).shape == (300, made.N_GENES)
    data.X[0, 0] = value
    with pytest.raises(InvalidArgumentError, match=f"{message}.+--layer doubled"):
        open_cells(make_form(form, data)).__enter__()


def test_no_cells(tmp_path: Path) -> None:
    data = anndata.AnnData(sp.csr_matrix((0, 3), dtype=np.float32))
    data.write_h5ad(tmp_path / "a.h5ad")
    with open_cells(tmp_path / "a.h5ad") as cells:
        assert (cells.n_cells, cells.cell_ids, list(cells.blocks())) == (0, [], [])


def test_memory_is_that_of_a_block(tmp_path: Path) -> None:
    """4 million values are read in a fraction of their 32 MB."""
    rng = np.random.default_rng(0)
    x = sp.csr_matrix((4000, 5000), dtype=np.float32)
    x.indptr = np.arange(4001) * 1000
    x.indices = np.tile(np.arange(0, 5000, 5, dtype=np.int32), 4000)
    x.data = rng.integers(1, 9, 4_000_000).astype(np.float32)
    data = anndata.AnnData(x)
    for path in (
        made.write_h5ad(data, tmp_path / "a.h5ad", "gzip"),
        made.write_zarr(data, tmp_path / "a.zarr", 3),
    ):
        with open_matrix(path) as matrix:
            tracemalloc.start()
            n_values = sum(block.nnz for block in matrix.blocks(max_values=100_000))
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert n_values == 4_000_000
        assert most < 8e6


@pytest.mark.parametrize("what", ["columns", "indptr", "short"])
def test_matrices_that_contradict_themselves_are_refused(tmp_path: Path, what: str) -> None:
    path = write_csr(tmp_path / "a.h5ad", [[(0, 1.0)], [(4, 1.0), (1, 1.0)], []], 5)
    with h5py.File(path, "r+") as file:
        if what == "columns":
            file["X/indices"][1] = 5
        elif what == "indptr":
            file["X/indptr"][1] = 3
            file["X/indptr"][2] = 2
        else:
            file["X/indptr"][2:] = 4
    with pytest.raises(InputFileError, match="damaged"):
        open_cells(path).__enter__()


@pytest.mark.parametrize("kind", ["f4", "f8", "i8", "u2", ">i4"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_ranges_of_compressed_chunks(tmp_path: Path, kind: str, shuffle: bool) -> None:
    values = np.random.default_rng(0).integers(0, 1000, 1003).astype(kind)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset(
            "a", data=values, chunks=(100,), compression="gzip", shuffle=shuffle
        )
        reader = hdf5_ranges(array)
        for start, stop in ((0, 1003), (0, 100), (250, 420), (1000, 1003), (7, 7), (399, 401)):
            np.testing.assert_array_equal(reader.read(start, stop), values[start:stop])


def test_ranges_across_uncompressed_chunks(tmp_path: Path) -> None:
    values = np.arange(70 * 103, dtype=np.float32).reshape(70, 103)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        reader = hdf5_ranges(file.create_dataset("a", data=values, chunks=(16, 20)), axis=1)
        for start, stop in ((0, 7), (7, 30), (30, 30), (30, 103), (5, 6)):
            np.testing.assert_array_equal(reader.read(start, stop), values[:, start:stop])


@pytest.mark.parametrize("wrong", [5, -1])
@pytest.mark.parametrize("row", [[(1, 1.0), (2, 1.0)], [(2, 1.0), (0, 1.0), (1, 1.0)]])
def test_a_column_beyond_the_genes_is_refused(
    tmp_path: Path, row: list[tuple[int, float]], wrong: int
) -> None:
    rows = [[], row, [], [(0, 1.0)], []]
    for at in range(len(row)):
        path = write_csr(tmp_path / f"{at}.h5ad", rows, 5)
        with h5py.File(path, "r+") as file:
            file["X/indices"][at] = wrong
        with pytest.raises(InputFileError, match="columns beyond the 5"):
            open_cells(path).__enter__()


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    path = made.write_h5ad(made.sample(), tmp_path / "a.h5ad", "gzip")
    with h5py.File(path, "r+") as file:
        file["X/data"].id.write_direct_chunk((0,), b"no gzip")
    with pytest.raises(InputFileError, match="cells 0 to 20 cannot be read"):
        open_cells(path).__enter__()
