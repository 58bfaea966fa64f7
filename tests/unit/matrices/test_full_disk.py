"""Outputs for which a disk has no room: an error that says so, nothing left, and no crash."""

import resource
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest

from cellkin.matrices.annotated import write_annotated
from cellkin.matrices.hdf5_files import hdf5_file
from cellkin.wire.errors import ResourceExhaustedError

_UNLIMITED = resource.RLIM_INFINITY


@contextmanager
def no_file_over(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, by the means of the system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module", params=[".h5ad", ".zarr"])
def source(
    request: pytest.FixtureRequest,
    make_cells: Callable[..., anndata.AnnData],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    path = tmp_path_factory.mktemp("full") / f"query{request.param}"
    cells = make_cells(80, 1)
    if request.param == ".h5ad":
        cells.write_h5ad(path)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what anndata will write one day
            cells.write_zarr(path)
    return path


def write(source: Path, target: Path) -> None:
    vectors = np.ones((80, 300), np.float32)
    write_annotated(source, target, {"label": np.zeros(80)}, {"X_cellkin": vectors}, {}, {})


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_an_h5ad_for_which_there_is_no_room_is_refused(source: Path, tmp_path: Path) -> None:
    write(source, tmp_path / "whole.h5ad")
    needed = (tmp_path / "whole.h5ad").stat().st_size
    for limit in (0, 1000, needed // 4, needed // 2, needed - 5000):
        with pytest.raises(ResourceExhaustedError, match="the disk is full"), no_file_over(limit):
            write(source, tmp_path / "out.h5ad")
        assert [path.name for path in tmp_path.iterdir()] == ["whole.h5ad"]
    write(source, tmp_path / "out.h5ad")
    assert anndata.read_h5ad(tmp_path / "out.h5ad").obsm["X_cellkin"].shape == (80, 300)


def test_values_are_written_when_they_are_given(tmp_path: Path) -> None:
    """Not when the array is forgotten, where Python can raise nothing."""
    with pytest.raises(OSError), hdf5_file(tmp_path / "f.h5", "w") as file, no_file_over(4000):
        file.create_dataset("values", data=np.ones(1000))
    with hdf5_file(tmp_path / "f.h5", "w") as file:
        file.create_dataset("values", data=np.ones(1000), chunks=(100,))
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["values"][:].sum() == 1000
