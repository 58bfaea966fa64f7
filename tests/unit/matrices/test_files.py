"""Files that are no files of cells, and files that are named in vain."""

import gzip
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from tests.unit.matrices import conftest as made

from cellkin.matrices import zarr_tree
from cellkin.matrices.cells import expand, open_cells, open_matrix
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import InputFileError, InvalidArgumentError

Make = Callable[[str, anndata.AnnData], Path]


@pytest.mark.parametrize("form", ["h5ad", "10x h5", "loom", "zarr zip"])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_files_cut_short_are_refused(
    form: str, share: float, data: anndata.AnnData, make_form: Make
) -> None:
    path = make_form(form, data)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputFileError, match=rf"{path.name} cannot be read as \{path.suffix}"):
        open_cells(path).__enter__()


def test_a_packed_matrix_cut_short_is_refused(data: anndata.AnnData, make_form: Make) -> None:
    path = make_form("10x folder", data)
    matrix = path / "matrix.mtx.gz"
    matrix.write_bytes(gzip.compress(gzip.decompress(matrix.read_bytes())[:400]))
    with pytest.raises(InputFileError, match="cannot be read as a folder of cells"):
        open_cells(path).__enter__()
    matrix.write_bytes(matrix.read_bytes()[:60])
    with pytest.raises(InputFileError, match="cannot be read as a folder of cells"):
        open_cells(path).__enter__()


@pytest.mark.parametrize("array", ["data", "indices"])
def test_zarr_with_lost_chunks_is_refused(tmp_path: Path, array: str) -> None:
    path = made.write_zarr_in_chunks(made.sample(), tmp_path / "a.zarr", 500)
    chunks = sorted((path / "X" / array / "c").iterdir())
    assert len(chunks) > 1
    chunks[-1].unlink()
    with pytest.raises(InputFileError, match=f"1 of {len(chunks)} chunks of X/{array} are missing"):
        open_matrix(path).__enter__()


@pytest.fixture(params=["zarrs", "zarr"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode with zarrs, and as where it is not installed."""
    if request.param == "zarr":
        monkeypatch.setattr(zarr_tree, "find_spec", lambda name: None)
    else:
        pytest.importorskip("zarrs")


def test_chunks_are_the_same_whoever_decodes_them(tmp_path: Path, decoder: None) -> None:
    data = made.sample()
    path = made.write_zarr_in_chunks(data, tmp_path / "a.zarr", 500)
    before = zarr.config.get("codec_pipeline.path")
    with open_matrix(path) as matrix:
        rows = matrix.rows(0, matrix.n_cells)
    np.testing.assert_array_equal(rows.toarray(), data.X.toarray())
    assert zarr.config.get("codec_pipeline.path") == before


def test_a_damaged_chunk_is_refused_when_it_is_read(tmp_path: Path, decoder: None) -> None:
    path = made.write_zarr_in_chunks(made.sample(), tmp_path / "a.zarr", 500)
    chunk = max((path / "X/data/c").iterdir())
    chunk.write_bytes(chunk.read_bytes()[:20])
    with open_matrix(path) as matrix:
        assert matrix.rows(0, 50).shape == (50, made.N_GENES)
        with pytest.raises(InputFileError, match=r"cells \d\d to 90 cannot be read"):
            list(matrix.blocks(max_values=700))


@pytest.mark.parametrize("name", ["cells.h5ad", "cells.rds", "cells"])
def test_other_formats_are_refused_with_those_that_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("gene,cell\n")
    with pytest.raises(InputFileError, match=r"cannot be read as .+ readable are AnnData \(.h5ad"):
        open_cells(path).__enter__()


def test_folders_and_hdf5_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="is a folder of no known format; readable are"):
        open_cells(tmp_path).__enter__()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["table"] = np.arange(3)
    with pytest.raises(InputFileError, match=r"HDF5 of no known kind \(it has table\)"):
        open_cells(tmp_path / "a.h5").__enter__()
    with pytest.raises(InputFileError, match=f"no file {tmp_path}/b.h5"):
        open_cells(str(tmp_path / "b.h5")).__enter__()


def test_anndata_without_x(tmp_path: Path, data: anndata.AnnData) -> None:
    data.X = None
    path = made.write_h5ad(data, tmp_path / "a.h5ad")
    with pytest.raises(InputFileError, match=r"no matrix X; .+; it has --layer doubled, --raw"):
        open_cells(path).__enter__()
    with open_cells(path, ReadOptions(raw=True)) as cells:
        assert cells.n_cells == made.N_CELLS


def test_names_that_do_not_fit_the_matrix(tmp_path: Path, data: anndata.AnnData) -> None:
    path = made.write_h5ad(data, tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        anndata.io.write_elem(file, "obs", pd.DataFrame(index=["a", "b"]))
    with pytest.raises(InputFileError, match="the matrix has 90 cells, but 2 are named"):
        open_cells(path).__enter__()


def test_10x_folders_with_parts_missing(data: anndata.AnnData, make_form: Make) -> None:
    path = make_form("10x folder", data)
    features = path / "features.tsv.gz"
    lines = gzip.decompress(features.read_bytes()).decode().splitlines()
    features.write_bytes(gzip.compress("\n".join(lines[:-1]).encode()))
    with pytest.raises(InputFileError, match="has 42 features, the list of them 41"):
        open_matrix(path).__enter__()
    features.write_bytes(gzip.compress(b"CD1\tCD1\tAntibody Capture\n" * 42))
    with pytest.raises(InputFileError, match="no Gene Expression features, only Antibody Capture"):
        open_matrix(path).__enter__()
    features.unlink()
    with pytest.raises(InputFileError, match=r"no list of its features beside it.*features.tsv"):
        open_matrix(path).__enter__()


def test_expand(tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("b1.h5ad", "a2.h5ad", "a1.h5ad", "odd[1].h5ad")]
    for name in names:
        name.touch()
    b1, a2, a1, odd = names
    assert expand([b1, tmp_path / "a*.h5ad"]) == [b1, a1, a2]
    assert expand([str(odd)]) == [odd]
    with pytest.raises(InputFileError, match=rf"no file {tmp_path}/c\*\.h5ad$"):
        expand([a1, tmp_path / "c*.h5ad"])
    with pytest.raises(InvalidArgumentError, match=r"a1\.h5ad is given twice"):
        expand([a1, tmp_path / "a*"])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["counts.csv"], r"a zip archive of other files \(counts\.csv\); unpack it"),
        (["a.zarr/zarr.json", "a.zarr/X/zarr.json"], r"other files \(a\.zarr/zarr\.json, "),
        (["[Content_Types].xml", "xl/workbook.xml"], r"a spreadsheet or document.+\.csv"),
    ],
)
@pytest.mark.parametrize("installed", [True, False])
def test_archives_of_other_files_are_named(
    names: list[str], said: str, installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    if not installed:
        monkeypatch.setitem(sys.modules, "cellkin.matrices.zarr_tree", None)
    with pytest.raises(InputFileError, match=said):
        open_cells(path).__enter__()


def test_a_text_file_may_begin_like_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("PKM,INS,GCG\nAAACCTGAGAAACCAT-1,1,2,3\nAAACCTGAGAAACCGC-1,0,1,0\n")
    with open_cells(path) as cells:
        assert cells.gene_names == ["PKM", "INS", "GCG"]


def test_a_matrix_too_large_to_convert_is_refused(
    data: anndata.AnnData, make_form: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_form("h5ad csc", data)
    monkeypatch.setattr("cellkin.matrices.anndata_tree._MAX_CONVERTED_VALUES", 10)
    with pytest.raises(InputFileError, match=r"column-major order .+ data.X.tocsr\(\)"):
        open_matrix(path).__enter__()


def test_a_10x_folder_may_be_packed_or_not(data: anndata.AnnData, make_form: Make) -> None:
    path = make_form("10x folder", data)
    with gzip.open(path / "matrix.mtx.gz") as packed, (path / "matrix.mtx").open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    (path / "matrix.mtx.gz").unlink()
    with open_matrix(path) as matrix:
        assert matrix.rows(0, made.N_CELLS).sum() == data.X.sum()
