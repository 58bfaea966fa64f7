"""Write cells of any readable format as AnnData in zarr v3, the fastest to read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from cellkin.matrices.cells import CellFile
from cellkin.matrices.targets import replacing, require_target, stored_bytes
from cellkin.matrices.writing import CHUNK, write_cells

# An eighth smaller than with zstd's default level, and a quarter faster to read.
_LEVEL = 5


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Parameters
    ----------
    n_cells, n_genes, n_values
        Size of the matrix.
    source_bytes, target_bytes
        Total size of the files.
    """

    n_cells: int
    n_genes: int
    n_values: int
    source_bytes: int
    target_bytes: int


def write_zarr(
    cells: CellFile,
    target: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Conversion:
    """Write X, obs and var as AnnData in zarr v3, in constant memory.

    Parameters
    ----------
    cells
        The open source; X is the matrix it was opened for.
    target
        The folder to create, atomically.
    progress
        Called with the number of cells written and the total.

    Raises
    ------
    AlreadyExistsError
        If the target exists.
    InputFileError
        If the source is damaged, or the target cannot be written.
    InvalidArgumentError
        If a value of the source is negative or not finite.
    """
    require_target(target, cells.path)
    with replacing(target) as partial:
        n_values = write_cells(cells, ZarrFolder(partial), progress)
    return Conversion(
        cells.n_cells,
        len(cells.gene_names),
        n_values,
        stored_bytes(cells.path),
        stored_bytes(target),
    )


class ZarrFolder:
    """A zarr v3 container."""

    def __init__(self, folder: Path) -> None:
        self.root: Any = zarr.open_group(folder, mode="w", zarr_format=3)

    def make_array(self, group: Any, name: str, dtype: npt.DTypeLike) -> Any:
        """Return an empty resizable array."""
        kind = np.dtype(dtype)
        # Column indices and indptr ascend, so their upper bytes hardly change: with shuffling they
        # are a sixth smaller than with zstd alone, and compress five times as fast.
        ascending = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=kind.itemsize)
        codec = ZstdCodec(level=_LEVEL) if kind.kind == "f" else ascending
        return group.create_array(
            name, shape=(0,), chunks=(CHUNK,), dtype=kind, compressors=[codec]
        )
