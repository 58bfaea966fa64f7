"""Chunks and shards of zarr that are not there: lost, or zeros that were never written."""

import shutil
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from tests.unit.matrices import conftest as made
from zarr.codecs import GzipCodec, ZstdCodec

from cellkin.matrices.cells import open_cells, open_matrix
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import InputFileError


def write_units(path: Path, x: Any, chunk: int, shard: int | None = None) -> Path:
    """Write sparse counts in small chunks, or shards of some chunks, as they are held in memory."""
    data = made.sample(n_cells=x.shape[0])
    data.raw = None
    made.write_zarr(data, path, 3)
    root: Any = zarr.open_group(path, use_consolidated=False)
    for name in ("data", "indices"):
        root["X"].create_array(
            name,
            data=getattr(x, name),
            chunks=(chunk,),
            shards=None if shard is None else (shard,),
            overwrite=True,
        )
    root["X/indptr"][:] = x.indptr
    return path


def counts(seed: int = 0, n_cells: int = made.N_CELLS) -> sp.csr_matrix:
    return sp.csr_matrix(made.sample(seed, n_cells).X)


def files(path: Path, array: str) -> list[Path]:
    return sorted((path / "X" / array / "c").iterdir(), key=lambda at: int(at.name))


def test_gzip_is_slow_among_other_codecs(tmp_path: Path) -> None:
    path = made.write_zarr(made.sample(), tmp_path / "a.zarr", 3)
    root: Any = zarr.open_group(path, use_consolidated=False)
    codecs = [GzipCodec(), ZstdCodec()]
    values = root["X/data"][:]
    root["X"].create_array("data", data=values, compressors=codecs, overwrite=True)
    with open_matrix(path) as matrix:
        assert (matrix.storage.format, matrix.storage.slow) == ("zarr v3, gzip and zstd", True)


@pytest.mark.parametrize("shard", [None, 400, 1000, 5000])
def test_every_size_of_shards_is_read(tmp_path: Path, shard: int | None) -> None:
    x = counts()
    path = write_units(tmp_path / "a.zarr", x, 100, shard)
    n = -(-x.nnz // (shard or 100))
    assert len(files(path, "data")) == n
    with open_cells(path) as cells:
        np.testing.assert_array_equal(cells.matrix.rows(0, 90).toarray(), x.toarray())
        assert cells.notes == []


@pytest.mark.parametrize("array", ["data", "indices"])
@pytest.mark.parametrize(("shard", "kind"), [(None, "chunks"), (400, "shards")])
@pytest.mark.parametrize("at", [0, 1, -1])
def test_what_is_lost_is_found(
    tmp_path: Path, array: str, shard: int | None, kind: str, at: int
) -> None:
    path = write_units(tmp_path / "a.zarr", counts(), 200, shard)
    held = files(path, array)
    assert len(held) > 2
    held[at].unlink()
    with pytest.raises(InputFileError, match=f"1 of {len(held)} {kind} of X/{array} are missing"):
        open_matrix(path).__enter__()


def test_all_values_lost(tmp_path: Path) -> None:
    path = write_units(tmp_path / "a.zarr", counts(), 200)
    held = files(path, "data")
    for at in held:
        at.unlink()
    with pytest.raises(InputFileError, match=f"{len(held)} of {len(held)} chunks of X/data"):
        open_matrix(path).__enter__()


@pytest.mark.parametrize("shard", [None, 400])
@pytest.mark.parametrize(("start", "stop"), [(30, 80), (0, 50), (40, 90)])
def test_cells_that_were_set_to_zero_are_zeros(
    tmp_path: Path, shard: int | None, start: int, stop: int
) -> None:
    x = counts()
    x.data[x.indptr[start] : x.indptr[stop]] = 0
    path = write_units(tmp_path / "a.zarr", x, 100, shard)
    n = -(-x.nnz // (shard or 100))
    missing = n - len(files(path, "data"))
    assert missing > 0
    with open_cells(path) as cells:
        np.testing.assert_array_equal(cells.matrix.rows(0, 90).toarray(), x.toarray())
        said = f"{missing} of {n} {'shards' if shard else 'chunks'} of X/data are missing"
        assert [note for note in cells.notes if note.startswith(said)]


def test_a_chunk_lost_beside_zeros_is_found(tmp_path: Path) -> None:
    """Where a tenth of all values is zero, one beside a missing chunk says nothing."""
    x = counts()
    x.data[np.arange(x.nnz) % 10 == 0] = 0
    path = write_units(tmp_path / "a.zarr", x, 200)
    files(path, "data")[-1].unlink()
    files(path, "data")[2].unlink()
    x.data[:] = 1
    with pytest.raises(InputFileError, match=r"so many values are zeros that it cannot be told"):
        open_matrix(path).__enter__()


def test_columns_lost_whole_are_no_first_gene(tmp_path: Path) -> None:
    x = counts()
    path = write_units(tmp_path / "a.zarr", x, 5000)
    files(path, "indices")[0].unlink()
    with pytest.raises(InputFileError, match="1 of 1 chunks of X/indices are missing"):
        open_matrix(path).__enter__()


def test_the_first_gene_alone(tmp_path: Path) -> None:
    x = sp.csr_matrix((np.ones(made.N_CELLS), (np.arange(90), np.zeros(90, int))), (90, 40))
    path = write_units(tmp_path / "a.zarr", x.astype(np.float32), 5000)
    assert not (path / "X/indices/c").exists()
    with open_matrix(path) as matrix:
        assert matrix.rows(0, 90).sum() == matrix.rows(0, 90)[:, 0].sum() == 90


def test_of_a_dense_matrix_it_is_said_that_chunks_are_missing(tmp_path: Path) -> None:
    data = made.sample()
    data.X = data.X.toarray()
    path = made.write_zarr(data, tmp_path / "a.zarr", 3)
    root: Any = zarr.open_group(path, use_consolidated=False)
    root.create_array("X", data=data.X, chunks=(30, 40), overwrite=True)
    with open_cells(path) as cells:
        assert not any("missing" in note for note in cells.notes)
    (path / "X/c/1/0").unlink()
    with open_cells(path) as cells:
        assert any("1 of 3 chunks of X are missing" in note for note in cells.notes)
        assert cells.matrix.rows(30, 60).nnz == 0


def test_lost_chunks_in_an_archive_and_in_a_layer(tmp_path: Path) -> None:
    path = made.write_zarr_in_chunks(made.sample(), tmp_path / "a.zarr", 200)
    root: Any = zarr.open_group(path, use_consolidated=False)
    values = root["layers/doubled/data"][:]
    root["layers/doubled"].create_array("data", data=values, chunks=(200,), overwrite=True)
    (path / "layers/doubled/data/c/1").unlink()
    (path / "X/data/c/2").unlink()
    packed = Path(shutil.make_archive(str(tmp_path / "b.zarr"), "zip", path))
    for held in (path, packed):
        with pytest.raises(InputFileError, match=r"1 of \d+ chunks of X/data"):
            open_matrix(held).__enter__()
        with pytest.raises(InputFileError, match=r"1 of \d+ chunks of layers/doubled/data"):
            open_matrix(held, ReadOptions(layer="doubled")).__enter__()


def test_what_this_anndata_shards_is_read(tmp_path: Path) -> None:
    """Of 10^5 values and more AnnData 0.13 makes shards, whose last is short."""
    x = sp.random(400, 1000, 0.4, format="csr", dtype=np.float32, random_state=0)
    x.data = np.ceil(x.data * 9)
    path = made.write_zarr(anndata.AnnData(x), tmp_path / "a.zarr", 3)
    with open_matrix(path) as matrix:
        np.testing.assert_array_equal(matrix.rows(0, 400).toarray(), x.toarray())


def test_lost_starts_of_cells_are_found(tmp_path: Path) -> None:
    x = counts()
    path = write_units(tmp_path / "a.zarr", x, 500)
    root: Any = zarr.open_group(path, use_consolidated=False)
    root["X"].create_array("indptr", data=x.indptr, chunks=(30,), overwrite=True)
    files(path, "indptr")[0].unlink()
    with pytest.raises(InputFileError, match="1 of 4 chunks of X/indptr are missing"):
        open_matrix(path).__enter__()


def test_lost_codes_of_labels_are_found(tmp_path: Path) -> None:
    """Read as zeros, they would make every cell one of the first label."""
    data = made.sample()
    path = made.write_zarr(data, tmp_path / "a.zarr", 3)
    root: Any = zarr.open_group(path, use_consolidated=False)
    codes = np.sort(data.obs["cell_type"].cat.codes.to_numpy())[::-1].copy()
    n_first = int((codes > 0).sum())
    root["obs/cell_type"].create_array("codes", data=codes, chunks=(10,), overwrite=True)
    root["obs/cell_type/codes"].attrs.update(
        {"encoding-type": "array", "encoding-version": "0.2.0"}
    )
    held = path / "obs/cell_type/codes/c"
    # Of cells that are in the order of their labels, whole chunks are of the first.
    assert not (held / str(n_first // 10 + 1)).exists()
    with open_cells(path) as cells:
        assert cells.column("cell_type", "labels")[:n_first] == ["beta"] * n_first
    (held / "0").unlink()
    with (
        pytest.raises(InputFileError, match=r"chunks of obs/cell_type/codes are missing"),
        open_cells(path) as cells,
    ):
        cells.column("cell_type", "labels")
