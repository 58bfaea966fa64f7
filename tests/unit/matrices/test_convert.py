"""Cells written as zarr, and answers written beside cells."""

import json
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from tests.unit.matrices import conftest as made

from cellkin.indexer.commands.convert import convert
from cellkin.matrices import writing
from cellkin.matrices.cells import open_cells
from cellkin.matrices.convert import write_zarr
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import AlreadyExistsError, InputFileError, InvalidArgumentError

Make = Callable[[str, anndata.AnnData], Path]


@pytest.mark.parametrize("form", made.FORMS)
@pytest.mark.parametrize("chunk", [64, writing.CHUNK])
def test_what_is_written_equals_the_source(
    form: str,
    chunk: int,
    data: anndata.AnnData,
    make_form: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writing, "_WRITTEN", 3 * chunk)
    for module in ("writing", "convert", "copies"):
        monkeypatch.setattr(f"cellkin.matrices.{module}.CHUNK", chunk)
    target = tmp_path / "new" / "out.zarr"
    steps = []
    with open_cells(make_form(form, data)) as cells:
        done = write_zarr(cells, target, lambda n, total: steps.append((n, total)))
    assert (done.n_cells, done.n_genes, done.n_values) == (*data.shape, data.X.nnz)
    assert done.source_bytes > 0 < done.target_bytes
    assert steps[-1] == (made.N_CELLS, made.N_CELLS)
    got = anndata.io.read_zarr(target)
    np.testing.assert_array_equal(got.X.toarray(), data.X.toarray())
    assert list(got.obs_names) == list(data.obs_names)
    assert list(got.var_names) == made.ensembl()
    if "h5ad" in form or "zarr" in form:
        # Strings are objects or a type of their own, as pandas has them; their values are the same.
        obs = (got.obs.astype(object), data.obs.astype(object))
        pd.testing.assert_frame_equal(
            *obs, check_dtype=False, check_index_type=False, check_column_type=False
        )
        assert got.obs["cell_type"].dtype == "category"
        assert list(got.var["symbol"]) == made.symbols()
    if "10x" in form:
        assert list(got.var["gene_names"]) == made.symbols()
    with open_cells(target) as cells:
        assert cells.matrix.storage.format == "zarr v3, zstd"
        assert not cells.matrix.storage.slow
        np.testing.assert_array_equal(cells.matrix.rows(5, 60).toarray(), data.X[5:60].toarray())
    assert list(target.parent.iterdir()) == [target]


def test_layers_and_raw_are_written_as_x(
    data: anndata.AnnData, make_form: Make, tmp_path: Path
) -> None:
    path = make_form("h5ad", data)
    for target, choice in (
        (tmp_path / "l.zarr", {"layer": "doubled"}),
        (tmp_path / "r.zarr", {"raw": True}),
    ):
        with open_cells(path, ReadOptions(**choice)) as cells:
            write_zarr(cells, target)
    layer, raw = (anndata.io.read_zarr(tmp_path / f"{name}.zarr") for name in "lr")
    assert layer.X.sum() == 2 * data.X.sum()
    assert list(raw.var_names) == list(data.raw.var_names)
    assert raw.X.sum() == data.raw.X.sum()


def test_nothing_half_is_left(data: anndata.AnnData, make_form: Make, tmp_path: Path) -> None:
    target = tmp_path / "out.zarr"

    def interrupted(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    path = make_form("h5ad", data)
    with open_cells(path) as cells, pytest.raises(KeyboardInterrupt):
        write_zarr(cells, target, interrupted)
    assert not target.exists()
    assert sorted(at.name for at in tmp_path.iterdir()) == ["cells.h5ad"]
    with open_cells(path) as cells:
        write_zarr(cells, target)
        with pytest.raises(AlreadyExistsError, match=r"out\.zarr is there already"):
            write_zarr(cells, target)
        with pytest.raises(InputFileError, match="cannot be written"):
            write_zarr(cells, path / "out.zarr")


def test_the_command(data: anndata.AnnData, make_form: Make, tmp_path: Path) -> None:
    path = make_form("10x h5", data)
    done = CliRunner().invoke(convert, [str(path), str(tmp_path / "a.zarr")])
    assert done.exit_code == 0, done.output
    assert "90 cells, 40 genes" in done.output
    assert "MB of 10x h5, gzip to" in done.output
    assert "left out 2 features that are not genes: Antibody Capture" in done.output
    done = CliRunner().invoke(convert, [str(path), str(tmp_path / "b.zarr"), "--json"])
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["n_cells"], found["n_genes"], found["format"]) == (90, 40, "10x h5, gzip")
    done = CliRunner().invoke(convert, [str(path), str(tmp_path / "b.h5ad")])
    assert isinstance(done.exception, InvalidArgumentError)


def test_columns_come_as_they_are(tmp_path: Path) -> None:
    """Strings that may be missing, and names with a slash, which AnnData itself would not write."""
    data = made.sample()
    path = made.write_h5ad(data, tmp_path / "a.h5ad")
    words = ["a", None, "b"] * 30
    with h5py.File(path, "r+") as file, anndata.settings.override(**made.NULLABLE):
        obs = file["obs"]
        anndata.io.write_elem(obs, "words", pd.array(words, dtype="string"))
        anndata.io.write_elem(obs, "whole", pd.array([f"w{i}" for i in range(90)], dtype="string"))
        anndata.io.write_elem(obs.require_group("umi"), "gene", np.arange(90))
        obs.attrs["column-order"] = [*obs.attrs["column-order"], "words", "whole", "umi/gene"]
    with open_cells(path) as cells:
        write_zarr(cells, tmp_path / "a.zarr")
    got = anndata.io.read_zarr(tmp_path / "a.zarr").obs
    assert [None if pd.isna(word) else word for word in got["words"]] == words
    assert list(got["whole"]) == [f"w{i}" for i in range(90)]
    assert list(got["umi/gene"]) == list(range(90))
    assert list(got.columns) == [*data.obs.columns, "words", "whole", "umi/gene"]


def test_logarithms_are_written_as_they_are(tmp_path: Path) -> None:
    data = made.sample()
    data.X = data.X.log1p()
    with open_cells(made.write_h5ad(data, tmp_path / "a.h5ad")) as cells:
        write_zarr(cells, tmp_path / "a.zarr")
    written = anndata.io.read_zarr(tmp_path / "a.zarr").X
    np.testing.assert_array_equal(written.toarray(), data.X.toarray())
