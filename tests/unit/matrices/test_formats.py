"""Every format holds the same cells, and is read as what it holds."""

import pickle
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
import scanpy as sc
from tests.unit.matrices import conftest as made

from cellkin.matrices.cells import open_cells, open_matrix
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import InputFileError, InvalidArgumentError, NotFoundError

Make = Callable[[str, anndata.AnnData], Path]
TENX = ["10x h5", "10x h5 v2", "10x folder", "10x folder v2"]


@pytest.mark.parametrize("form", made.FORMS)
def test_formats_agree(form: str, data: anndata.AnnData, make_form: Make) -> None:
    path = make_form(form, data)
    with open_cells(path) as cells:
        assert (cells.matrix.storage.format, cells.matrix.storage.slow) == made.FORMS[form][1:]
        assert (cells.n_cells, cells.matrix.n_columns) == data.shape
        assert cells.cell_ids == list(data.obs_names)
        assert cells.gene_names == made.ensembl()
        assert cells.units.why == f"counts (integers up to {data.X.max():.0f})"
        blocks = list(cells.blocks(max_cells=13))
    np.testing.assert_array_equal(np.vstack([b.toarray() for b in blocks]), data.X.toarray())
    for block in blocks:
        assert block.shape[0] <= 13
        assert block.dtype == np.float32
        assert block.indices.dtype == block.indptr.dtype == np.int32
        assert block.has_canonical_format
        assert (block.data != 0).all()


@pytest.mark.parametrize("form", made.FORMS)
def test_a_matrix_is_opened_without_names(
    form: str, data: anndata.AnnData, make_form: Make
) -> None:
    path = make_form(form, data)
    with open_matrix(*pickle.loads(pickle.dumps((path,)))) as matrix:
        for start, stop in ((0, 90), (40, 41), (7, 8), (89, 90), (30, 30), (5, 70), (2, 40)):
            got = matrix.rows(start, stop)
            np.testing.assert_array_equal(got.toarray(), data.X[start:stop].toarray())
        with pytest.raises(InvalidArgumentError, match="cells 80 to 91 of 90 were asked for"):
            matrix.rows(80, 91)


@pytest.mark.parametrize("form", ["h5ad", "zarr v3", "zarr v2", "zarr zip", "loom"])
def test_layers(form: str, data: anndata.AnnData, make_form: Make) -> None:
    path = make_form(form, data)
    with open_cells(path, ReadOptions(layer="doubled")) as cells:
        assert cells.matrix.rows(3, 9).sum() == 2 * data.X[3:9].sum()
    with pytest.raises(InputFileError, match=r"has no layer 'cuonts'; it has --layer doubled"):
        open_matrix(path, ReadOptions(layer="cuonts")).__enter__()


@pytest.mark.parametrize("form", ["h5ad", "zarr v3", "zarr v2"])
def test_raw_has_genes_of_its_own(form: str, data: anndata.AnnData, make_form: Make) -> None:
    with open_cells(make_form(form, data), ReadOptions(raw=True)) as cells:
        assert cells.gene_names == list(data.raw.var_names)
        assert cells.matrix.n_columns == made.N_GENES + 5
        np.testing.assert_array_equal(cells.matrix.rows(0, 90).toarray(), data.raw.X.toarray())


def test_no_raw(data: anndata.AnnData, make_form: Make) -> None:
    path = make_form("loom", data)
    with pytest.raises(InputFileError, match="no raw: a loom file has layers; it has --layer dou"):
        open_matrix(path, ReadOptions(raw=True)).__enter__()
    data.raw = None
    path = make_form("h5ad", data)
    with pytest.raises(InputFileError, match="has no raw; it has --layer doubled"):
        open_matrix(path, ReadOptions(raw=True)).__enter__()
    with pytest.raises(InvalidArgumentError, match="a layer and raw were asked for"):
        open_matrix(path, ReadOptions(layer="doubled", raw=True)).__enter__()


@pytest.mark.parametrize("form", TENX)
def test_10x_has_one_matrix(form: str, data: anndata.AnnData, make_form: Make) -> None:
    path = make_form(form, data)
    with pytest.raises(InputFileError, match=r"has no layer 'a': a 10x f.+ has one matrix"):
        open_matrix(path, ReadOptions(layer="a")).__enter__()
    with pytest.raises(InputFileError, match=r"has no raw: a 10x f.+ has one matrix"):
        open_matrix(path, ReadOptions(raw=True)).__enter__()


@pytest.mark.parametrize("form", TENX)
def test_10x_is_what_scanpy_reads(form: str, data: anndata.AnnData, make_form: Make) -> None:
    path = make_form(form, data)
    read = sc.read_10x_mtx if path.is_dir() else sc.read_10x_h5
    known = read(path)
    with open_cells(path) as cells:
        assert cells.cell_ids == list(known.obs_names)
        assert cells.gene_names == list(known.var["gene_ids"])
        np.testing.assert_array_equal(cells.matrix.rows(0, 90).toarray(), known.X.toarray())
        left_out = [note for note in cells.notes if "left out" in note]
    if "v2" in form:
        assert not left_out
    else:
        assert left_out == ["left out 2 features that are not genes: Antibody Capture"]


@pytest.mark.parametrize("form", ["h5ad", "h5ad gzip", "zarr v3", "zarr v2", "loom"])
def test_columns(form: str, data: anndata.AnnData, make_form: Make) -> None:
    types = [None if t != t else t for t in data.obs["cell_type"]]
    with open_cells(make_form(form, data)) as cells:
        assert cells.columns[:2] == ["cell_type", "depth"]
        missing = "" if form == "loom" else None
        assert cells.column("cell_type", "labels") == [t or missing for t in types]
        assert cells.column("depth", "depths") == [str(v) for v in data.obs["depth"]]
        with pytest.raises(NotFoundError, match=r"has no obs column 'x' for the labels; it has: c"):
            cells.column("x", "labels")


@pytest.mark.parametrize("form", ["h5ad", "zarr v3"])
def test_labels_of_several_columns_are_paths(
    form: str, data: anndata.AnnData, make_form: Make
) -> None:
    types = [None if t != t else t for t in data.obs["cell_type"]]
    depths = [str(v) for v in data.obs["depth"]]
    with open_cells(make_form(form, data)) as cells:
        assert cells.labels("cell_type").values == types
        assert cells.labels("cell_type, depth").values == [
            t and f"{t}/{d}" for t, d in zip(types, depths, strict=True)
        ]
        with pytest.raises(NotFoundError, match="no obs column 'x'"):
            cells.labels("cell_type,x")


def test_10x_has_no_columns(data: anndata.AnnData, make_form: Make) -> None:
    with open_cells(make_form("10x h5", data)) as cells:
        assert cells.columns == []
        with pytest.raises(NotFoundError, match=r"for the labels; it has: none"):
            cells.column("cell_type", "labels")


def test_genes_without_an_ensembl_id_keep_their_names(
    data: anndata.AnnData, tmp_path: Path
) -> None:
    path = made.write_10x_folder(data, tmp_path / "cells", packed=False)
    lines = (path / "genes.tsv").read_text().splitlines()
    lines[0], lines[1] = "eGFP_transgene\teGFP", "mm10___ENSMUSG00000051951.6\tmm10___Xkr4"
    (path / "genes.tsv").write_text("\n".join(lines))
    with open_cells(path) as cells:
        assert cells.gene_names[:3] == ["eGFP", "mm10___ENSMUSG00000051951.6", made.ensembl()[2]]


def test_loom_genes_by_name_where_ids_are_no_ensembl(tmp_path: Path, data: anndata.AnnData) -> None:
    path = made.write_loom(data, tmp_path / "a.loom", accession="clone")
    with open_cells(path) as cells:
        assert cells.gene_names == made.symbols()


def test_a_10x_file_of_several_genomes_is_refused(tmp_path: Path, data: anndata.AnnData) -> None:
    path = made.write_10x_h5_v2(data, tmp_path / "a.h5", ("hg19", "mm10"))
    with pytest.raises(InputFileError, match="a matrix for each of the genomes hg19, mm10"):
        open_matrix(path).__enter__()


def test_annotation_as_anndata_0_7_wrote_it(tmp_path: Path, data: anndata.AnnData) -> None:
    path = made.write_h5ad(data, tmp_path / "a.h5ad")
    types = data.obs["cell_type"].cat
    text = h5py.string_dtype()
    with h5py.File(path, "r+") as file:
        del file["obs"]
        obs = file.create_group("obs")
        obs.attrs.update(
            {"encoding-type": "dataframe", "encoding-version": "0.1.0", "_index": "names"}
        )
        obs.attrs["column-order"] = np.array(["cell_type", "depth"], dtype=object)
        obs["names"] = np.array(list(data.obs_names), dtype=text)
        obs["depth"] = data.obs["depth"].to_numpy()
        obs["cell_type"] = types.codes.to_numpy()
        obs["__categories/cell_type"] = np.array(list(types.categories), dtype=text)
        obs["__categories/cell_type"].attrs["ordered"] = False
        obs["cell_type"].attrs["categories"] = obs["__categories/cell_type"].ref
    with open_cells(path) as cells:
        assert cells.cell_ids == list(data.obs_names)
        assert cells.columns == ["cell_type", "depth"]
        known = [None if t != t else t for t in data.obs["cell_type"]]
        assert cells.column("cell_type", "labels") == known


def test_annotation_older_than_that_is_refused(tmp_path: Path, data: anndata.AnnData) -> None:
    path = made.write_h5ad(data, tmp_path / "a.h5ad")
    with h5py.File(path, "r+") as file:
        del file["obs"]
        file["obs"] = np.array([(b"c1", 1.0), (b"c2", 2.0)], dtype=[("index", "S2"), ("n", "f4")])
    with pytest.raises(InputFileError, match=r"obs was written by anndata before 0\.7; write the"):
        open_cells(path).__enter__()
