"""Uncompressed HDF5 read at the places of its bytes, and what must pass through HDF5."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from cellkin.matrices.hdf5 import hdf5_ranges
from cellkin.matrices.hdf5_direct import DirectReader

VALUES = np.random.default_rng(0).integers(0, 9, 1000).astype(np.float32)
RANGES = [(0, 1), (0, 1000), (63, 65), (64, 128), (500, 500), (999, 1000), (130, 907)]


def at_once(file: h5py.File) -> None:
    file.create_dataset("x", data=VALUES)


def in_chunks(file: h5py.File) -> None:
    file.create_dataset("x", data=VALUES, chunks=(64,), maxshape=(None,))


def in_turns(file: h5py.File) -> None:
    """Chunks of two arrays alternate, as where blocks of cells are appended."""
    for name in "xy":
        file.create_dataset(name, (0,), np.float32, chunks=(64,), maxshape=(None,))
    for start in range(0, 1000, 100):
        for name in "xy":
            file[name].resize((start + 100,))
            file[name][start:] = VALUES[start : start + 100]
        file.flush()


def big_endian(file: h5py.File) -> None:
    file.create_dataset("x", data=VALUES.astype(">f4"), chunks=(64,))


def with_a_gap(file: h5py.File) -> None:
    file.create_dataset("x", (1000,), np.float32, chunks=(64,), fillvalue=7)
    file["x"][:256] = VALUES[:256]


def never_written(file: h5py.File) -> None:
    file.create_dataset("x", (1000,), np.float32, fillvalue=7)


def packed(file: h5py.File) -> None:
    file.create_dataset("x", data=VALUES, chunks=(64,), compression="gzip")


def compact(file: h5py.File) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((1000,))
    h5py.Dataset(h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, made))[:] = VALUES


def written(path: Path, form: Callable[[h5py.File], None], userblock: int = 0) -> Path:
    with h5py.File(path / "a.h5", "w", userblock_size=userblock) as file:
        form(file)
    return path / "a.h5"


def require_equal(dataset: h5py.Dataset, *, direct: bool) -> None:
    reader = hdf5_ranges(dataset)
    expected: npt.NDArray[np.float32] = dataset[:]
    for start, stop in RANGES:
        np.testing.assert_array_equal(reader.read(start, stop), expected[start:stop])
    assert (isinstance(reader, DirectReader) and reader._runs is not None) == direct


@pytest.mark.parametrize("form", [at_once, in_chunks, in_turns])
def test_bytes_that_are_the_values_are_read_from_the_file(
    form: Callable[[h5py.File], None], tmp_path: Path
) -> None:
    with h5py.File(written(tmp_path, form)) as file:
        require_equal(file["x"], direct=True)


@pytest.mark.parametrize("form", [big_endian, with_a_gap, never_written, packed, compact])
def test_others_are_read_by_hdf5(form: Callable[[h5py.File], None], tmp_path: Path) -> None:
    with h5py.File(written(tmp_path, form)) as file:
        require_equal(file["x"], direct=False)


def test_places_after_a_user_block_are_left_to_hdf5(tmp_path: Path) -> None:
    with h5py.File(written(tmp_path, in_chunks, userblock=512)) as file:
        require_equal(file["x"], direct=False)


def test_what_another_handle_writes_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, in_chunks)
    with h5py.File(path, "r+") as written_to, h5py.File(path, "r") as file:
        reader = hdf5_ranges(file["x"])
        assert reader.read(0, 10)[5] == VALUES[5]
        written_to["x"][5] = 77
        assert reader.read(0, 10)[5] == 77


def test_a_closed_file_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, at_once)
    with h5py.File(path) as file:
        reader = hdf5_ranges(file["x"])
        reader.read(0, 10)
    with h5py.File(path), pytest.raises((ValueError, RuntimeError)):
        reader.read(0, 10)


def test_a_file_cut_short_while_it_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, at_once)
    with h5py.File(path) as file:
        reader = hdf5_ranges(file["x"])
        with path.open("r+b") as handle:
            handle.truncate(path.stat().st_size - 400)
        with pytest.raises(OSError, match="ends before byte"):
            reader.read(0, 1000)
