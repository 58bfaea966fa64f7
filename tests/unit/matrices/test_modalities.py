"""MuData and SpatialData: which modality is read, and where answers are written."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from tests.unit.matrices import conftest as made

from cellkin.matrices.annotated import check_writable, write_annotated
from cellkin.matrices.cells import open_cells
from cellkin.matrices.held import held_cells, instead_of
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import InputFileError, InvalidArgumentError


def proteins() -> anndata.AnnData:
    counts = np.random.default_rng(1).poisson(40, (made.N_CELLS, 5)).astype(np.float32)
    names = pd.DataFrame(index=[f"CD{i}" for i in range(5)])
    return anndata.AnnData(sp.csr_matrix(counts), var=names)


def write(path: Path, names: Sequence[str], container: str = "mod") -> Path:
    """Write RNA under the first name, proteins under the others, as MuData and SpatialData do."""
    parts = {name: proteins() if at else made.sample() for at, name in enumerate(names)}
    if path.suffix == ".h5mu":
        # MuData keeps the first bytes for a word on what the file is.
        with h5py.File(path, "w", userblock_size=512) as file:
            _fill(file, parts, container)
        with path.open("r+b") as bare:
            bare.write(b"MuData (format-version=0.1.0;creator=test)")
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "zarr v3 autosharding")
            _fill(zarr.open_group(path, mode="w", zarr_format=3), parts, container)
    return path


def _fill(root: Any, parts: dict[str, anndata.AnnData], container: str) -> None:
    group = root.create_group(container)
    for name, part in parts.items():
        anndata.io.write_elem(group, name, part)
    if container == "mod":
        for axis in ("obs", "var"):
            anndata.io.write_elem(root, axis, pd.DataFrame(index=["x"]))
        root.attrs["encoding-type"] = "MuData"


@pytest.mark.parametrize("name", ["rna", "RNA", "gex", "Gene Expression"])
@pytest.mark.parametrize("ending", ["h5mu", "zarr"])
def test_expression_is_read_unless_another_is_asked_for(
    name: str, ending: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"a.{ending}", [name, "prot"])
    with open_cells(path) as cells:
        assert cells.gene_names == made.ensembl()
        assert f"read the modality {name}" in cells.notes
        np.testing.assert_array_equal(cells.matrix.rows(0, 90).toarray(), made.sample().X.toarray())
    with open_cells(path, ReadOptions(layer="doubled")) as cells:
        assert cells.matrix.rows(0, 90).sum() == 2 * made.sample().X.sum()
    with open_cells(path, ReadOptions(modality="prot")) as cells:
        assert cells.gene_names == [f"CD{i}" for i in range(5)]


@pytest.mark.parametrize("ending", ["h5mu", "zarr"])
def test_the_only_table_is_read(ending: str, tmp_path: Path) -> None:
    with open_cells(write(tmp_path / f"a.{ending}", ["table"], "tables")) as cells:
        assert cells.n_cells == made.N_CELLS


@pytest.mark.parametrize("names", [["adt"], ["Prot", "atac"]])
def test_without_expression_it_is_refused(names: list[str], tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5mu", names)
    with pytest.raises(InputFileError, match=f"only the modalities .*{names[0]}"):
        open_cells(path).__enter__()
    with open_cells(path, ReadOptions(modality=names[0])) as cells:
        assert cells.n_cells == made.N_CELLS


def test_where_it_is_not_plain_the_user_chooses(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", ["square_008um", "square_016um"], "tables")
    with pytest.raises(
        InputFileError, match=r"modalities square_008um, square_016um.+--modality square_008um"
    ):
        open_cells(path).__enter__()
    with pytest.raises(InputFileError, match=r"no modality 'rna'; it has square_008um, square_0"):
        open_cells(path, ReadOptions(modality="rna")).__enter__()
    with open_cells(path, ReadOptions(modality="square_008um")) as cells:
        assert cells.n_cells == made.N_CELLS


@pytest.mark.parametrize("form", ["h5ad", "zarr v3", "10x h5", "10x folder", "loom"])
def test_other_files_have_none(form: str, tmp_path: Path) -> None:
    path = made.FORMS[form][0](made.sample(), tmp_path)
    with pytest.raises(InputFileError, match="has no modality 'rna'"):
        open_cells(path, ReadOptions(modality="rna")).__enter__()


def label(source: Path, target: Path, how: ReadOptions, n: int) -> None:
    check_writable(source, target, how)
    labels = pd.Categorical(["a", "b"] * 45)
    write_annotated(source, target, {"label": labels}, {}, {"id": np.arange(n)}, {}, how)


@pytest.mark.parametrize(("modality", "n"), [(None, made.N_GENES), ("prot", 5)])
@pytest.mark.parametrize("ending", ["h5mu", "zarr"])
def test_a_copy_has_all_modalities_and_the_answers_in_one(
    ending: str, modality: str | None, n: int, tmp_path: Path
) -> None:
    source, target = write(tmp_path / f"a.{ending}", ["rna", "prot"]), tmp_path / f"b.{ending}"
    label(source, target, ReadOptions(modality=modality), n)
    root: Any = h5py.File(target) if ending == "h5mu" else zarr.open_group(target, mode="r")
    read = {name: anndata.io.read_elem(root["mod"][name]) for name in ("rna", "prot")}
    if ending == "h5mu":
        assert target.read_bytes().startswith(b"MuData")
        root.close()
    labeled, other = read.pop(modality or "rna"), next(iter(read.values()))
    assert list(labeled.obs["label"]) == ["a", "b"] * 45
    assert list(labeled.var["id"]) == list(range(n))
    assert "label" not in other.obs
    assert "id" not in other.var


@pytest.mark.parametrize("ending", ["h5mu", "zarr"])
def test_an_h5ad_has_that_modality_alone(ending: str, tmp_path: Path) -> None:
    source, target = write(tmp_path / f"a.{ending}", ["rna", "prot"]), tmp_path / "b.h5ad"
    label(source, target, ReadOptions(), made.N_GENES)
    got = anndata.read_h5ad(target)
    assert list(got.obs["label"]) == ["a", "b"] * 45
    np.testing.assert_array_equal(got.X.toarray(), made.sample().X.toarray())
    # Of the container it comes from, everything is copied; of another, what was read.
    assert ("doubled" in got.layers) == (ending == "h5mu")


class Parts:
    """As MuData and SpatialData hold theirs."""

    def __init__(self, held: str) -> None:
        setattr(self, held, {"rna": made.sample(), "prot": proteins()})


def test_objects_of_several_modalities() -> None:
    assert "mdata['rna'] (it has rna, prot)" in instead_of(Parts("mod"))
    assert "sdata.tables['rna']" in instead_of(Parts("tables"))
    assert instead_of(made.sample()) == instead_of([1]) == ""
    with pytest.raises(InvalidArgumentError, match="'rna' was asked for; an AnnData object is of"):
        held_cells(made.sample(), ReadOptions(modality="rna"))
