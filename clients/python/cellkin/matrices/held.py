"""Read AnnData objects, in memory or backed, with the interface of files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from cellkin.matrices.anndata_tree import HeldRanges, table_of
from cellkin.matrices.cells import CellFile
from cellkin.matrices.matrix import CompressedMatrix, DenseMatrix, Matrix, Storage
from cellkin.matrices.options import ReadOptions, X
from cellkin.matrices.table import Opened
from cellkin.matrices.trees import hdf5_tree
from cellkin.wire.errors import InvalidArgumentError

_HELD = Path("AnnData")
"""The name in errors, in place of a file."""


def held_cells(adata: Any, how: ReadOptions = X) -> CellFile:
    """Read an AnnData object in blocks; a backed one is never loaded whole.

    Parameters
    ----------
    adata
        (n_cells, n_genes) AnnData; a view of a backed object is loaded whole.
    how
        The matrix to read, and its gene names and units.

    Raises
    ------
    InvalidArgumentError
        If there is no such matrix, or its values cannot be used; see `open_cells`.
    InputFileError
        If the backing file is damaged, or no column is a gene.
    NotFoundError
        If there is no such column of gene names.
    """
    if how.modality is not None:
        raise InvalidArgumentError(
            f"a modality {how.modality!r} was asked for; an AnnData object is of one, leave it out"
        )
    matrix = _matrix(adata, how)
    var = adata.raw.var if how.raw else adata.var
    opened = Opened(matrix, lambda: table_of(adata.obs), lambda: table_of(var))
    return CellFile(matrix.path, opened, how)


def instead_of(cells: Any) -> str:
    """Return advice for an object with several parts, such as MuData; '' for others."""
    for held, call in (("mod", "mdata"), ("tables", "sdata.tables")):
        parts = getattr(cells, held, None)
        if isinstance(parts, Mapping) and parts:
            names = list(map(str, parts))
            return (
                f"give one of its parts, such as {call}[{names[0]!r}] (it has {', '.join(names)})"
            )
    return ""


def _matrix(adata: Any, how: ReadOptions) -> Matrix:
    if adata.isbacked and not adata.is_view:
        path = Path(adata.filename)
        # AnnData closes the file when a view is read into memory.
        if not adata.file.is_open:
            adata.file.open()
        root = adata.file._file  # already open, possibly for writing
        return hdf5_tree(path, root).opened(how).matrix
    elsewhere = _elsewhere(adata, how)
    x = _values(adata, how, elsewhere)
    storage = Storage(_HELD, "in memory", in_memory=True, elsewhere=elsewhere)
    if sp.issparse(x):
        rows = x.tocsr()
        return CompressedMatrix(
            storage, x.shape[1], rows.indptr, HeldRanges(rows.indices), HeldRanges(rows.data)
        )
    if isinstance(x, np.ndarray) and x.ndim == 2:
        return DenseMatrix(storage, x.shape[0], x.shape[1], HeldRanges(x))
    raise InvalidArgumentError(
        f"the matrix is a {type(x).__name__}; give a dense numpy or a scipy sparse one"
    )


def _values(adata: Any, how: ReadOptions, elsewhere: Sequence[str]) -> Any:
    layer, raw = how.layer, how.raw
    has = f"; it has {', '.join(elsewhere) or 'no other matrix'}"
    if layer is not None and raw:
        raise InvalidArgumentError("a layer and raw were asked for; give one of them")
    if raw and adata.raw is None:
        raise InvalidArgumentError(f"the AnnData has no raw{has}")
    if layer is not None and layer not in adata.layers:
        raise InvalidArgumentError(f"the AnnData has no layer {layer!r}{has}")
    x = adata.raw.X if raw else adata.X if layer is None else adata.layers[layer]
    if x is None:
        raise InvalidArgumentError(f"the AnnData has no X{has}")
    return x


def _elsewhere(adata: Any, how: ReadOptions) -> list[str]:
    # From AnnData 0.13 on, X is a layer named None.
    layers = sorted(str(name) for name in adata.layers if name is not None)
    found = [f"layer={name!r}" for name in layers if name != how.layer]
    return found + (["raw"] if adata.raw is not None and not how.raw else [])
