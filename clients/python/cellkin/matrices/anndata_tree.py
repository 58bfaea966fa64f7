"""AnnData on disk, as HDF5 or zarr: the same tree of groups."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from cellkin.matrices.attributes import attribute, text_attribute
from cellkin.matrices.elements import column_order, is_old
from cellkin.matrices.matrix import CompressedMatrix, DenseMatrix, Matrix, Storage
from cellkin.matrices.modalities import modalities, modality_path
from cellkin.matrices.options import ReadOptions
from cellkin.matrices.ranges import RangeReader
from cellkin.matrices.table import Opened, Table
from cellkin.wire.errors import InputFileError, InvalidArgumentError

# Column-major matrices are converted in memory; this many values take about 6 GiB.
_MAX_CONVERTED_VALUES = 400_000_000


@dataclass(frozen=True)
class Tree:
    """An open AnnData file, or a file of several modalities, each of them AnnData.

    Parameters
    ----------
    path
        The file or folder.
    root
        An ``h5py.File`` or ``zarr.Group``.
    container
        ``h5ad``, ``zarr v3`` or ``zarr v2``.
    ranges
        Returns a `RangeReader` along the first axis of an array.
    compression
        Returns the name of an array's compression.
    is_slow
        Returns whether decompression limits the reader.
    ready
        Called before an element is read: loads its decompressors, or refuses an incomplete one.
    decoding
        Context in which arrays are opened, to select the fastest decoder.
    notes
        Sentences for the user.
    """

    path: Path
    root: Any
    container: str
    ranges: Callable[[Any], RangeReader]
    compression: Callable[[Any], str]
    is_slow: Callable[[Any], bool]
    ready: Callable[[Any], None] = lambda node: None
    decoding: Callable[[], AbstractContextManager[None]] = nullcontext
    notes: Sequence[str] = ()

    def opened(self, how: ReadOptions) -> Opened:
        """Return the matrix asked for, with the annotation of its axes."""
        tree = self._modality(how)
        var = "raw/var" if how.raw else "var"
        with self.decoding():
            matrix = tree._matrix(how)
        return Opened(matrix, lambda: tree._table("obs"), lambda: tree._table(var))

    @property
    def is_zarr(self) -> bool:
        """Whether the file is zarr, not HDF5."""
        return self.container.startswith("zarr")

    @property
    def has_modalities(self) -> bool:
        """Whether the file has modalities, each of them AnnData."""
        return bool(modalities(self.root))

    def modality_path(self, how: ReadOptions) -> str:
        """Return the group of the AnnData asked for, '' for the root."""
        return modality_path(self.path, self.root, how.modality)

    def annotation(self, how: ReadOptions) -> tuple[Table, Table]:
        """Return obs and var of the matrix asked for, without opening the matrix."""
        tree = self._modality(how)
        return tree._table("obs"), tree._table("raw/var" if how.raw else "var")

    def _modality(self, how: ReadOptions) -> "Tree":
        where = self.modality_path(how)
        if not where:
            return self
        note = f"read the modality {where.rpartition('/')[2]}"
        return replace(self, root=self.root[where], notes=[*self.notes, note])

    def _matrix(self, how: ReadOptions) -> Matrix:
        node = self._node(how)
        elsewhere = self._elsewhere(how)
        if hasattr(node, "dtype"):
            described = self._described(node, "dense")
            entries = self.ranges(node)
            notes = [*self.notes, *entries.notes]
            storage = Storage(self.path, *described, elsewhere=elsewhere, notes=notes)
            return DenseMatrix(storage, int(node.shape[0]), int(node.shape[1]), entries)
        kind = text_attribute(node, "encoding-type") or text_attribute(node, "h5sparse_format")
        n_cells, n_columns = map(
            int, attribute(node, "shape", attribute(node, "h5sparse_shape", ()))
        )
        if kind.startswith("csr"):
            described = self._described(node["data"])
            indices, data = self.ranges(node["indices"]), self.ranges(node["data"])
            notes = [*self.notes, *indices.notes, *data.notes]
            storage = Storage(self.path, *described, elsewhere=elsewhere, notes=notes)
            starts = self.ranges(node["indptr"])
            indptr = starts.read(0, starts.n)
            return CompressedMatrix(storage, n_columns, indptr, indices, data)
        if kind.startswith("csc"):
            return self._converted(node, (n_cells, n_columns), elsewhere)
        raise InputFileError(
            f"{self.path}: the matrix is of the kind {kind or 'unknown'!r}; "
            "a dense, CSR or CSC matrix is needed"
        )

    def _node(self, how: ReadOptions) -> Any:
        layer, raw = how.layer, how.raw
        if layer is not None and raw:
            raise InvalidArgumentError("a layer and raw were asked for; give one of them")
        has = f"; it has {', '.join(self._elsewhere(how)) or 'no other matrix'}"
        if raw and not self._has_raw():
            raise InputFileError(f"{self.path} has no raw{has}")
        if layer is not None and layer not in self._layers():
            raise InputFileError(f"{self.path} has no layer {layer!r}{has}")
        group = self.root["raw"] if raw else self.root if layer is None else self.root["layers"]
        node = group.get(layer or "X")
        # AnnData without X may write a null element in its place.
        if node is None or (hasattr(node, "dtype") and len(node.shape or ()) != 2):
            raise InputFileError(f"{self.path} has no matrix X; give a file with counts in X{has}")
        return node

    def _converted(self, node: Any, shape: tuple[int, int], elsewhere: list[str]) -> Matrix:
        n = int(node["data"].shape[0])
        if n > _MAX_CONVERTED_VALUES:
            raise InputFileError(
                f"{self.path}: {n} values in column-major order (CSC), which cannot be read by "
                f"cells; more than {_MAX_CONVERTED_VALUES} are not converted in memory. Write it "
                "once as CSR: data.X = data.X.tocsr()"
            )
        compression, _ = self._described(node["data"], "CSC")
        self.ready(node)
        # Making the readers checks for missing chunks; the values are read below.
        found = [self.ranges(node[name]).notes for name in ("data", "indices", "indptr")]
        parts = (node["data"][:], node["indices"][:], node["indptr"][:])
        x = sp.csc_matrix(tuple(map(np.asarray, parts)), shape=shape).tocsr()
        storage = Storage(
            self.path,
            compression,
            in_memory=True,
            elsewhere=elsewhere,
            notes=[
                *self.notes,
                *found[0],
                *found[1],
                "the matrix is column-major (CSC) and was loaded whole; CSR is read in blocks",
            ],
        )
        return CompressedMatrix(
            storage, shape[1], x.indptr, HeldRanges(x.indices), HeldRanges(x.data)
        )

    def _described(self, array: Any, form: str = "") -> tuple[str, bool]:
        if array.dtype.kind not in "biuf":
            raise InputFileError(
                f"{self.path}: values of the type {array.dtype}; numbers are needed"
            )
        parts = (self.container, form, self.compression(array))
        return ", ".join(part for part in parts if part), self.is_slow(array)

    def _layers(self) -> list[str]:
        return sorted(self.root["layers"]) if "layers" in self.root else []

    def _has_raw(self) -> bool:
        # AnnData without raw may write a null element in its place.
        raw = self.root.get("raw")
        return raw is not None and not hasattr(raw, "dtype")

    def _elsewhere(self, how: ReadOptions) -> list[str]:
        layers = [f"--layer {name}" for name in self._layers() if name != how.layer]
        return layers + (["--raw"] if self._has_raw() and not how.raw else [])

    def _table(self, name: str) -> Table:
        group = self.root[name]
        if is_old(group):
            return table_of(self._old_frame(name))
        index = text_attribute(group, "_index")
        return Table(
            column_order(group),
            lambda: self._element(group[index]),
            lambda column: self._element(group[column]),
            # anndata calls an unnamed index "_index".
            index_name=None if index == "_index" else index,
        )

    def _element(self, node: Any) -> Any:
        self.ready(node)
        return anndata.io.read_elem(node)

    def _old_frame(self, name: str) -> pd.DataFrame:
        """Return a table written by anndata before 0.8, which must be read whole."""
        with warnings.catch_warnings():
            # anndata advises to rewrite the file, which is not necessary.
            warnings.filterwarnings("ignore", "Element .+ without encoding metadata")
            frame = self._element(self.root[name])
        if not isinstance(frame, pd.DataFrame):
            raise InputFileError(
                f"{self.path}: {name} was written by anndata before 0.7; write the file again: "
                "anndata.read_h5ad(path).write_h5ad(new_path)"
            )
        return frame


class HeldRanges:
    """Ranges of an array in memory, with the interface of `RangeReader`."""

    def __init__(self, values: Any) -> None:
        self.n = len(values)
        self._values = values

    def read(self, start: int, stop: int) -> Any:
        """Return a copy of ``values[start:stop]``."""
        return self._values[start:stop].copy()


def table_of(frame: pd.DataFrame) -> Table:
    """Return a `Table` of a data frame."""
    return Table(
        [str(c) for c in frame.columns],
        lambda: frame.index,
        lambda name: frame[name].array,
        index_name=None if frame.index.name is None else str(frame.index.name),
    )
