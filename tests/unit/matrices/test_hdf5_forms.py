"""HDF5 as it is written elsewhere: other filters, packed whole, bytes, nulls, old names."""

import gzip
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pytest
from tests.unit.matrices import conftest as made

from cellkin.matrices import hdf5, packed
from cellkin.matrices.annotated import write_annotated
from cellkin.matrices.cells import open_cells, open_matrix
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import InputFileError, MissingDependencyError, ResourceExhaustedError

Make = Callable[[str, anndata.AnnData], Path]


def repack(file: h5py.File, name: str, **packing: Any) -> None:
    values, attributes = file[name][:], dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, data=values, **packing).attrs.update(attributes)


@pytest.mark.parametrize("name", ["zstd", "blosc"])
def test_filters_of_hdf5plugin(name: str, tmp_path: Path) -> None:
    plugin = pytest.importorskip("hdf5plugin")
    data = made.sample()
    data.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        # Strings of any length are not among them: Blosc, packing these, ends the process.
        for array in ("X/data", "X/indices", "X/indptr", "obs/depth"):
            repack(file, array, compression=plugin.FILTERS[name])
    with open_cells(tmp_path / "a.h5ad") as cells:
        assert name in cells.matrix.storage.format
        np.testing.assert_array_equal(cells.matrix.rows(0, 90).toarray(), data.X.toarray())
        assert cells.column("depth", "depths") == [str(v) for v in data.obs["depth"]]
    write_annotated(tmp_path / "a.h5ad", tmp_path / "b.h5ad", {"n": np.arange(90)}, {}, {}, {})
    assert list(anndata.read_h5ad(tmp_path / "b.h5ad").obs["n"]) == list(range(90))


@pytest.mark.parametrize("second", [h5py.h5z.FILTER_LZF, 32015])
def test_gzip_is_slow_among_other_filters(second: int, tmp_path: Path) -> None:
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((8,))
    created.set_deflate(1)
    # A missing filter is named without being loaded.
    created.set_filter(second, h5py.h5z.FLAG_OPTIONAL)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space = h5py.h5s.create_simple((8,))
        at = h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_FLOAT, space, created)
        dataset = h5py.Dataset(at)
        assert hdf5.compression(dataset).startswith("gzip and ")
        assert hdf5.is_slow(dataset)


@pytest.mark.parametrize("where", ["X/data", "obs/depth", "X/indptr"])
def test_a_filter_that_is_not_there_is_named(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made.write_h5ad(made.sample(), tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        repack(file, where, compression="gzip")
    # As where HDF5 were without gzip, and gzip were zstd: no plugin is needed to try it.
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    monkeypatch.setattr(hdf5, "_FILTERS", {1: "zstd"})
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    said = rf"/{where} is packed by zstd \(HDF5 filter 1\).+ pip install hdf5plugin"
    with pytest.raises(MissingDependencyError, match=said), open_cells(path) as cells:
        cells.column("depth", "depths")
    monkeypatch.setitem(sys.modules, "hdf5plugin", sys)
    with pytest.raises(InputFileError, match="neither HDF5 nor hdf5plugin"), open_cells(path) as c:
        c.column("depth", "depths")


def fix_lengths(node: Any) -> None:
    """Write all attributes that are text as C and R do, in bytes of a fixed length."""
    for name, value in dict(node.attrs).items():
        if isinstance(value, str):
            node.attrs[name] = np.bytes_(value)
        elif isinstance(value, np.ndarray) and value.dtype.kind == "O":
            node.attrs[name] = np.array(value.tolist(), "S")
    if isinstance(node, h5py.Group):
        for name in node:
            fix_lengths(node[name])


@pytest.mark.parametrize("form", ["h5ad", "h5ad csc", "h5ad dense"])
@pytest.mark.parametrize("raw", [False, True])
def test_attributes_of_a_fixed_length(
    form: str, raw: bool, data: anndata.AnnData, make_form: Make, tmp_path: Path
) -> None:
    path = make_form(form, data)
    with h5py.File(path, "r+") as file:
        fix_lengths(file)
        assert isinstance(file["obs"].attrs["_index"], bytes)
    how = ReadOptions(raw=raw)
    want = data.raw.to_adata() if raw else data
    with open_cells(path, how) as cells:
        assert cells.gene_names == list(want.var_names)
        assert cells.cell_ids == list(data.obs_names)
        np.testing.assert_array_equal(cells.matrix.rows(0, 90).toarray(), want.X.toarray())
        assert cells.column("depth", "depths") == [str(v) for v in data.obs["depth"]]
    write_annotated(path, tmp_path / "b.h5ad", {"n": np.arange(90)}, {}, {}, {}, how)
    assert list(anndata.read_h5ad(tmp_path / "b.h5ad").obs["n"]) == list(range(90))


def test_attributes_of_one_text_in_an_array(data: anndata.AnnData, make_form: Make) -> None:
    path = make_form("h5ad", data)
    with h5py.File(path, "r+") as file:
        for name in ("encoding-type", "encoding-version"):
            file["X"].attrs[name] = np.array([file["X"].attrs[name]], "S")
    with open_matrix(path) as matrix:
        np.testing.assert_array_equal(matrix.rows(0, 90).toarray(), data.X.toarray())


@pytest.mark.parametrize("form", ["h5ad", "zarr v3"])
def test_raw_that_is_null_is_none(form: str, data: anndata.AnnData, make_form: Make) -> None:
    """As AnnData 0.13 writes it where there is none."""
    data.raw = None
    path = make_form(form, data)
    if form == "h5ad":
        with h5py.File(path, "r+") as file:
            if "raw" not in file:
                file["raw"] = h5py.Empty("f")
                file["raw"].attrs.update({"encoding-type": "null", "encoding-version": "0.1.0"})
    else:
        import zarr

        root: Any = zarr.open_group(path, use_consolidated=False)
        if "raw" not in root:
            root.create_array("raw", shape=(), dtype=bool).attrs["encoding-type"] = "null"
    with open_cells(path) as cells:
        assert cells.matrix.storage.elsewhere == ["--layer doubled"]
    with pytest.raises(InputFileError, match="has no raw; it has --layer doubled"):
        open_cells(path, ReadOptions(raw=True)).__enter__()


def test_sparse_matrices_as_h5sparse_named_them(data: anndata.AnnData, make_form: Make) -> None:
    path = make_form("h5ad", data)
    with h5py.File(path, "r+") as file:
        shape = file["X"].attrs["shape"]
        for name in list(file["X"].attrs):
            del file["X"].attrs[name]
        file["X"].attrs.update({"h5sparse_format": np.bytes_("csr"), "h5sparse_shape": shape})
    with open_matrix(path) as matrix:
        np.testing.assert_array_equal(matrix.rows(0, 90).toarray(), data.X.toarray())


@pytest.mark.parametrize("form", ["h5ad", "h5ad csc", "10x h5", "loom"])
def test_files_packed_whole(
    form: str, data: anndata.AnnData, make_form: Make, tmp_path: Path, monkeypatch: Any
) -> None:
    path = make_form(form, data)
    target = path.with_name(path.name + ".gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with open_cells(target) as cells:
        assert cells.path == target
        np.testing.assert_array_equal(cells.matrix.rows(0, 90).toarray(), data.X.toarray())
        assert any("packed by gzip" in note for note in cells.notes)
        assert list((tmp_path / "temporary").iterdir())
    assert not list((tmp_path / "temporary").iterdir())


def test_no_room_to_unpack(
    data: anndata.AnnData, make_form: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_form("h5ad", data)
    target = path.with_name("a.h5ad.gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    full = shutil.disk_usage(path.parent)._replace(free=packed._LEFT_FREE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(ResourceExhaustedError, match="no room to unpack it; set TMPDIR"):
        open_cells(target).__enter__()


def test_a_packed_file_cut_short(data: anndata.AnnData, make_form: Make) -> None:
    path = make_form("h5ad", data)
    target = path.with_name("a.h5ad.gz")
    content = gzip.compress(path.read_bytes())
    target.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputFileError, match=r"a\.h5ad\.gz cannot be read as \.gz"):
        open_cells(target).__enter__()
