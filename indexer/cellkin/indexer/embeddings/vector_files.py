"""Read files of gene vectors without running code from the file."""

import json
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cellkin.space.arrays import Float32Matrix
from cellkin.wire.errors import DimensionMismatchError, InputFileError

_GENE, _VECTOR = "gene", "vector"
_SHOWN = 5
# Beside those of files and formats: RuntimeError of an encrypted archive, one packed in a way that
# zipfile does not know, or JSON nested too deeply.
_UNREADABLE = (
    OSError, EOFError, RuntimeError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error,
    pa.ArrowException,
)  # fmt: skip


@dataclass(frozen=True)
class NamedVectors:
    """Vectors and gene names of a file.

    Parameters
    ----------
    names
        Gene names in the order of the file, not always unique.
    vectors
        (n_names, dim) float32, finite, without zero rows, not normalized.
    """

    names: list[str]
    vectors: Float32Matrix


def read_vectors(path: Path) -> NamedVectors:
    """Read gene vectors.

    Parameters
    ----------
    path
        The file. ``.npz`` with the arrays ``genes`` (strings or GeneIDs) and ``vectors`` (n, dim);
        ``.parquet`` with the column ``gene`` and either the list column ``vector`` or a numeric
        column for each dimension; or ``.json``, an object of gene to list of numbers.

    Raises
    ------
    InputFileError
        If the file is missing, damaged, a pickle or of another format, or a vector is zero or not
        finite.
    DimensionMismatchError
        If the vectors differ in dimension.
    """
    if path.suffix in (".pkl", ".pickle"):
        raise InputFileError(
            f"vectors file {path}: a pickle can run any code when it is opened, so it is not; "
            'where you trust it, convert it: python -c "import json, pickle; json.dump({gene: '
            "list(map(float, vector)) for gene, vector in pickle.load(open('"
            f"{path.name}', 'rb')).items()}}, open('{path.stem}.json', 'w'))\""
        )
    if path.suffix not in _READERS:
        raise InputFileError(
            f"vectors file {path}: ends in {path.suffix or 'nothing'!r}; expected one of "
            f"{', '.join(_READERS)}"
        )
    try:
        given = _READERS[path.suffix](path)
    except FileNotFoundError:
        raise InputFileError(f"vectors file {path}: there is no such file") from None
    except _UNREADABLE as error:
        raise InputFileError(f"vectors file {path}: cannot be read: {error}") from error
    if not given.vectors.size:
        raise InputFileError(f"vectors file {path}: there is no vector in it")
    _check_directions(path, given)
    return given


def _check_directions(path: Path, given: NamedVectors) -> None:
    finite = np.isfinite(given.vectors).all(axis=1)
    for bad, what in (
        (~finite, "values that are not finite"),
        (~given.vectors.any(axis=1), "nothing but zeros"),
    ):
        rows = np.flatnonzero(bad)
        if rows.size:
            names = ", ".join(given.names[row] for row in rows[:_SHOWN])
            raise InputFileError(
                f"vectors file {path}: {rows.size} of {len(given.names)} vectors have {what}, for "
                f"example of {names}; leave such genes out"
            )


def _read_npz(path: Path) -> NamedVectors:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise InputFileError(f"vectors file {path}: is no .npz archive")
    with np.load(path, allow_pickle=False) as archive:
        absent = [name for name in ("genes", "vectors") if name not in archive]
        if absent:
            raise InputFileError(
                f"vectors file {path}: has no array {absent[0]!r}, only "
                f"{', '.join(archive) or 'nothing'}; expected the arrays 'genes' and 'vectors'"
            )
        try:
            genes, vectors = archive["genes"], archive["vectors"]
        except ValueError:
            raise InputFileError(
                f"vectors file {path}: holds Python objects, which can run code when they are read;"
                " save genes as numpy.array(genes, dtype=str) and vectors as float32"
            ) from None
    if not isinstance(genes, np.ndarray) or not isinstance(vectors, np.ndarray):
        raise InputFileError(f"vectors file {path}: genes and vectors are no arrays of numpy")
    if genes.ndim != 1 or genes.dtype.kind not in "Uiu":
        raise InputFileError(
            f"vectors file {path}: genes is {genes.dtype} of shape {genes.shape}; expected (n,) "
            "text or GeneIDs"
        )
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or len(vectors) != len(genes):
        raise InputFileError(
            f"vectors file {path}: vectors is {vectors.dtype} of shape {vectors.shape}; expected "
            f"numbers of shape ({len(genes)}, dim), a row for each gene"
        )
    return NamedVectors(list(map(str, genes.tolist())), _as_float32(vectors))


def _read_parquet(path: Path) -> NamedVectors:
    table = pq.read_table(path)
    columns = [name for name in table.column_names if not name.startswith("__")]  # pandas' index
    if _GENE not in columns or table[_GENE].null_count:
        raise InputFileError(
            f"vectors file {path}: {'genes without a name' if _GENE in columns else 'no column'} "
            f"{_GENE!r}; its columns are {', '.join(columns[:_SHOWN])}; expected {_GENE!r} and "
            f"{_VECTOR!r}, or {_GENE!r} and a column for each dimension"
        )
    try:
        names = table[_GENE].cast(pa.string()).to_pylist()
    except pa.ArrowNotImplementedError:
        raise InputFileError(
            f"vectors file {path}: column {_GENE!r} is {table[_GENE].type}; expected text or "
            "GeneIDs"
        ) from None
    columns.remove(_GENE)
    if columns == [_VECTOR]:
        return NamedVectors(names, _list_column(path, names, table[_VECTOR]))
    for name in columns:
        kind = table[name].type
        if not _is_number(kind):
            raise InputFileError(
                f"vectors file {path}: column {name!r} is {kind}; expected {_GENE!r} and numbers"
            )
    vectors = [_as_float32(table[name].to_numpy()) for name in columns]
    return NamedVectors(
        names, np.column_stack(vectors) if vectors else np.empty((0, 0), np.float32)
    )


def _list_column(path: Path, names: Sequence[str], column: Any) -> Float32Matrix:
    kind = column.type
    is_list = (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
    if not is_list or not _is_number(kind.value_type):
        raise InputFileError(
            f"vectors file {path}: column {_VECTOR!r} is {kind}; expected lists of numbers"
        )
    widths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    _check_widths(path, names, widths.tolist())
    flat = pc.list_flatten(column).to_numpy()
    return _as_float32(flat).reshape(len(names), -1) if len(names) else np.empty((0, 0), np.float32)


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _read_json(path: Path) -> NamedVectors:
    try:
        # A dictionary would hide repeated genes. As floats, integers of any length are read; those
        # too large become infinite and are rejected later.
        pairs = json.loads(path.read_text("utf-8-sig"), object_pairs_hook=list, parse_int=float)
    except json.JSONDecodeError as error:
        raise InputFileError(
            f"vectors file {path}: line {error.lineno} is no JSON: {error.msg}"
        ) from None
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise InputFileError(f"vectors file {path}: expected an object of gene to list of numbers")
    names = [gene for gene, _ in pairs]
    for gene, values in pairs:
        if not isinstance(values, list) or not all(type(v) is float for v in values):
            raise InputFileError(
                f"vectors file {path}: the value of {gene!r} is no list of numbers"
            )
    _check_widths(path, names, [len(values) for _, values in pairs])
    return NamedVectors(names, _as_float32(np.array([values for _, values in pairs])))


def _check_widths(path: Path, names: Sequence[str], widths: Sequence[int]) -> None:
    for name, width in zip(names, widths, strict=True):
        if width != widths[0]:
            raise DimensionMismatchError(
                f"vectors file {path}: the vector of {name!r} has {width} dimensions, that of "
                f"{names[0]!r} {widths[0]}; all must have the same"
            )


def _as_float32(values: Any) -> Float32Matrix:
    # Values too large for float32 become infinite and are rejected later.
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32)


_READERS: dict[str, Callable[[Path], NamedVectors]] = {
    ".npz": _read_npz,
    ".parquet": _read_parquet,
    ".json": _read_json,
}
