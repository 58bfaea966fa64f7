"""Missing chunks of zarr arrays: zeros that were never written, or an incomplete copy.

zarr silently reads a missing chunk as zeros, and writers omit chunks that are all zeros. Lost
chunks can therefore be told from zeros only by the rest of the array:

* The columns of a sparse matrix (``indices``) are not zero for a whole chunk, unless the first gene
  is the only one of its cells.
* Its values (``data``) are rarely zero. If a program set a range of cells to zero, the range hardly
  ever ends at a chunk boundary: the values next to the missing chunks are zero, and those farther
  away are not. If chunks were lost, the values next to them are not zero.
* For a dense matrix it can only be reported that chunks are missing.

In sharded arrays, with several chunks per file, shards are checked instead of chunks.
"""

import os
import zipfile
from collections.abc import Callable
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.matrices.attributes import text_attribute
from cellkin.wire.errors import InputFileError

# Values checked on each side of missing chunks.
_N_BESIDE = 65_536
# Above this share of stored zeros, the values next to missing chunks are no evidence.
_MAX_ZEROS = 0.01


def notes_on_chunks(path: Path, root: Any, array: Any) -> list[str]:
    """Refuse an array of a matrix that has lost chunks.

    Parameters
    ----------
    path
        The folder or archive.
    root
        The group at its root.
    array
        ``indptr``, ``indices`` or ``data`` of a sparse matrix, or a dense one.

    Returns
    -------
    list
        A sentence for the user if missing chunks are zeros or may be; else empty.

    Raises
    ------
    InputFileError
        If missing chunks were not all zeros.
    """
    missing, counts = _missing(path, array)
    if not missing:
        return []
    said = _said(array, missing, counts)
    parent, _, name = array.path.rpartition("/")
    if len(counts) > 1 or name not in ("indices", "data", "indptr"):
        return [
            f"{said}: they are read as zeros, which a writer leaves out; if the folder was not "
            "copied whole, they are lost"
        ]
    if name == "data":
        if not _zeros_beside(array, missing, _few_zeros_begin):
            raise InputFileError(
                f"{said}; the folder was not copied whole, or so many values are zeros that it "
                "cannot be told"
            )
        return [f"{said}: the values beside them are zeros, so they are read as zeros"]
    # A single chunk of indptr is all zeros if the matrix has no values.
    if counts[0] > 1 if name == "indptr" else not _first_gene_alone(root[f"{parent}/indptr"]):
        raise InputFileError(f"{said}; the folder was not copied whole")
    return []


def require_codes(path: Path, node: Any) -> None:
    """Refuse categories with lost codes, which would read as the first category.

    Parameters
    ----------
    path
        The folder or archive.
    node
        Any element; those that are not categorical are ignored.

    Raises
    ------
    InputFileError
        If codes are missing, and those next to them are not of the first category.
    """
    if text_attribute(node, "encoding-type") != "categorical":
        return
    names = node["categories"]
    # Nullable strings are stored as a group.
    if (names if hasattr(names, "dtype") else names["values"]).shape[0] < 2:
        return
    missing, counts = _missing(path, node["codes"])
    if missing and not _zeros_beside(node["codes"], missing, lambda values: values[0] == 0):
        raise InputFileError(
            f"{_said(node['codes'], missing, counts)}; the folder was not copied whole"
        )


def _missing(path: Path, array: Any) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return the missing chunks or shards of an array, and the number expected per axis."""
    unit = array.shards or array.chunks
    counts = [-(-n // step) for n, step in zip(array.shape, unit, strict=True)]
    stored, name = _stored(path, array), array.metadata.encode_chunk_key
    return [at for at in product(*map(range, counts)) if name(at) not in stored], counts


def _said(array: Any, missing: list[tuple[int, ...]], counts: list[int]) -> str:
    kind = "shards" if array.shards else "chunks"
    return f"{len(missing)} of {int(np.prod(counts))} {kind} of {array.path} are missing"


def _stored(path: Path, array: Any) -> set[str]:
    """Return the names of the chunks or shards of an array that exist."""
    if path.is_dir():
        folder = path / array.path
        return {
            (Path(at).relative_to(folder) / name).as_posix()
            for at, _, names in os.walk(folder)
            for name in names
        }
    with zipfile.ZipFile(path) as archive:
        prefix = f"{array.path}/"
        return {n.removeprefix(prefix) for n in archive.namelist() if n.startswith(prefix)}


def _first_gene_alone(indptr: Any) -> bool:
    """Return whether no cell has more than one value."""
    return bool(np.diff(np.asarray(indptr[:])).max(initial=0) <= 1)


def _zeros_beside(
    array: Any,
    missing: list[tuple[int, ...]],
    fits: Callable[[npt.NDArray[Any]], bool],
) -> bool:
    """Return whether `fits` holds for the values on both sides of each run of missing chunks.

    Values are passed in order of distance from the run.
    """
    n, step = int(array.shape[0]), int((array.shards or array.chunks)[0])
    for _, run in groupby(enumerate(at[0] for at in missing), lambda pair: pair[1] - pair[0]):
        places = [at for _, at in run]
        start, stop = places[0] * step, min(n, (places[-1] + 1) * step)
        before = np.asarray(array[max(0, start - min(step, _N_BESIDE)) : start])[::-1]
        after = np.asarray(array[stop : min(n, stop + min(step, _N_BESIDE))])
        sides = [side for side in (before, after) if len(side)]
        if not sides or not all(map(fits, sides)):
            return False
    return True


def _few_zeros_begin(values: npt.NDArray[Any]) -> bool:
    """Return whether values begin with zeros and have hardly any after these."""
    rest = values[np.argmax(values != 0) :] if values.any() else values[:0]
    n_zeros = len(rest) - np.count_nonzero(rest)
    return bool(len(rest) < len(values) and n_zeros <= _MAX_ZEROS * len(rest))
