"""Callers read files of one folder, and nothing outside of it by any link."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from cellkin.cli.folder import Files
from cellkin.wire.errors import NotFoundError, PermissionDeniedError


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["X"] = np.arange(4.0)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "files"
    (path / "cells.zarr" / "X").mkdir(parents=True)
    (path / "cells.zarr" / "X" / "0").write_bytes(b"chunk")
    (path / "inside.zarr").symlink_to(path / "cells.zarr")
    with h5py.File(path / "own.h5ad", "w") as file:
        file["raw"] = np.arange(4.0)
        file["X"] = h5py.SoftLink("/raw")
    return path


@pytest.mark.parametrize(
    "name", ["own.h5ad", "cells.zarr", "inside.zarr", "./cells.zarr/../own.h5ad"]
)
def test_what_is_in_the_folder_is_found(folder: Path, name: str) -> None:
    assert Files(folder).find(name) == (folder / name).resolve()
    assert Files(folder).find(str(folder / name)) == (folder / name).resolve()


def outside(folder: Path, secret: Path) -> str:
    return f"../{secret.name}"


def absolute(folder: Path, secret: Path) -> str:
    return str(secret)


def neighbor(folder: Path, secret: Path) -> str:
    shutil.copy(secret, folder.with_name("files-of-others.h5"))
    return "../files-of-others.h5"


def linked(folder: Path, secret: Path) -> str:
    (folder / "linked.h5ad").symlink_to(secret)
    return "linked.h5ad"


def linked_chunk(folder: Path, secret: Path) -> str:
    (folder / "cells.zarr" / "X" / "1").symlink_to(secret)
    return "cells.zarr"


def linked_neighbor(folder: Path, secret: Path) -> str:
    (folder / "matrix.mtx").write_text("")
    (folder / "barcodes.tsv").symlink_to(secret)
    return "matrix.mtx"


def external_link(folder: Path, secret: Path) -> str:
    with h5py.File(folder / "ext.h5ad", "w") as file:
        file.create_group("layers")["counts"] = h5py.ExternalLink(str(secret), "X")
    return "ext.h5ad"


def packed_link(folder: Path, secret: Path) -> str:
    name = external_link(folder, secret)
    (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
    return f"{name}.gz"


def external_storage(folder: Path, secret: Path) -> str:
    with h5py.File(folder / "raw.h5ad", "w") as file:
        file.create_dataset("X", (8,), np.uint8, external=[(str(secret), 0, 8)])
    return "raw.h5ad"


def virtual(folder: Path, secret: Path) -> str:
    layout = h5py.VirtualLayout((4,), float)
    layout[:] = h5py.VirtualSource(str(secret), "X", (4,))
    with h5py.File(folder / "virtual.h5ad", "w") as file:
        file.create_virtual_dataset("X", layout)
    return "virtual.h5ad"


@pytest.mark.parametrize(
    "make",
    [outside, absolute, neighbor, linked, linked_chunk, linked_neighbor, external_link, packed_link,
     external_storage, virtual],
)  # fmt: skip
def test_what_is_outside_is_refused(
    folder: Path, secret: Path, make: Callable[[Path, Path], str]
) -> None:
    with pytest.raises(PermissionDeniedError):
        Files(folder).find(make(folder, secret))


def test_absent_files_and_no_folder(folder: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there are: cells\.zarr, inside\.zarr, own\.h5ad"):
        Files(folder).find("owm.h5ad")
    with pytest.raises(PermissionDeniedError, match="--files FOLDER"):
        Files(None).find("own.h5ad")
