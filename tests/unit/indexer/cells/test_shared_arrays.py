"""Objects whose arrays are mapped by the processes that read them."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cellkin.indexer.cells.shared_arrays import read_object, write_object


def test_arrays_come_back_equal_on_cache_lines_and_read_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays: list[npt.NDArray[Any]] = [rng.integers(0, 2, (3, 5)) > 0]
    arrays += [rng.standard_normal(n).astype(np.float32) for n in (1, 7, 0, 1000)]
    write_object({"text": "of it", "arrays": arrays}, tmp_path / "work")
    found = read_object(tmp_path / "work")
    assert found["text"] == "of it"
    for ours, theirs in zip(arrays, found["arrays"], strict=True):
        np.testing.assert_array_equal(theirs, ours)
        assert theirs.dtype == ours.dtype
        assert not len(theirs) or theirs.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        found["arrays"][1][0] = 1


@pytest.mark.parametrize("value", ["no array", [np.empty(0, np.float32)] * 2])
def test_objects_without_values(value: object, tmp_path: Path) -> None:
    write_object(value, tmp_path / "work")
    np.testing.assert_array_equal(read_object(tmp_path / "work"), value)
