"""Write cells as AnnData, block by block, into any container of groups and arrays."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cellkin.matrices.cells import CellFile
from cellkin.matrices.elements import write_element, write_frame

# 1 MiB of values per chunk. Blocks of cells are about as long, so little is decoded in vain;
# larger chunks are not smaller on disk.
CHUNK = 2**18
# Values written at a time: zarr compresses the chunks in parallel.
_WRITTEN = 8 * CHUNK


class Container(Protocol):
    """An empty file of one format, to be filled."""

    root: Any

    def make_array(self, group: Any, name: str, dtype: npt.DTypeLike) -> Any:
        """Return an empty resizable array in chunks of `CHUNK`."""


def write_cells(
    cells: CellFile,
    container: Container,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write X, obs and var as AnnData, in constant memory, and return the number of values.

    Parameters
    ----------
    cells
        The open source; X is the matrix it was opened for.
    container
        The container to fill.
    progress
        Called with the number of cells written and the total.

    Raises
    ------
    InputFileError
        If the source is damaged.
    InvalidArgumentError
        If a value of the source is negative or not finite.
    """
    root = container.root
    write_frame(root, "obs", cells.obs.frame())
    write_frame(root, "var", cells.var.frame())
    # AnnData expects these groups, even if empty.
    for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
        write_element(root, name, {})
    x = root.create_group("X")
    # 2-byte column indices decompress twice as fast as 4-byte ones.
    few = len(cells.gene_names) <= np.iinfo(np.uint16).max
    width = np.uint16 if few else np.int32
    indices = _Growing(container.make_array(x, "indices", width))
    data = _Growing(container.make_array(x, "data", np.float32))
    indptr = _Growing(container.make_array(x, "indptr", np.int64))
    indptr.add(np.zeros(1, np.int64))
    done = n_values = 0
    progress(0, cells.n_cells)
    for block in cells.matrix.blocks():
        indices.add(block.indices.astype(width))
        data.add(block.data)
        indptr.add(n_values + block.indptr[1:].astype(np.int64))
        done += block.shape[0]
        n_values += block.nnz
        progress(done, cells.n_cells)
    for array in (indices, data, indptr):
        array.finish()
    shape = [cells.n_cells, len(cells.gene_names)]
    x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
    root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    return n_values


class _Growing:
    """An array on disk that grows by whole chunks, so that no chunk is compressed twice."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self._waiting: list[npt.NDArray[Any]] = []
        self._n_waiting = 0

    def add(self, values: npt.NDArray[Any]) -> None:
        """Append values."""
        self._waiting.append(values)
        self._n_waiting += len(values)
        if self._n_waiting >= _WRITTEN:
            self._write(self._n_waiting - self._n_waiting % CHUNK)

    def finish(self) -> None:
        """Write what is left."""
        if self._n_waiting:
            self._write(self._n_waiting)

    def _write(self, n: int) -> None:
        values = np.concatenate(self._waiting)
        start = self._array.shape[0]
        self._array.resize((start + n,))
        self._array[start : start + n] = values[:n]
        self._waiting = [values[n:].copy()]
        self._n_waiting -= n
