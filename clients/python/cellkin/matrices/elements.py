"""Write elements of AnnData files that every AnnData since 0.8 can read.

The encodings that AnnData writes depend on its version and on that of pandas: strings of pandas 3
are written as nullable-string-array, which AnnData before 0.12 cannot read and 0.12 writes only if
a setting allows it. AnnData refuses columns with a slash in their name from 0.13 on, though each
version reads them. Therefore this module writes tables column by column, with strings as object
arrays.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import anndata
import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.matrices.attributes import attribute, text_attribute
from cellkin.wire.errors import InputFileError

_CURRENT, _OLD = "0.2.0", "0.1.0"
_INDEX = "_index"
"""AnnData's name of an unnamed index."""


def is_old(frame: Any) -> bool:
    """Return whether a table on disk was written by AnnData before 0.8."""
    return text_attribute(frame, "encoding-version") != _CURRENT


def write_frame(root: Any, name: str, frame: pd.DataFrame, *, old: bool = False) -> None:
    """Write a table.

    Parameters
    ----------
    root
        An HDF5 or zarr group.
    name
        Name of the table; an existing element is replaced.
    frame
        The columns and the index.
    old
        Whether to use the encoding of AnnData before 0.8.

    Raises
    ------
    InputFileError
        If a column's name is not allowed, or its values cannot be written.
    """
    if name in root:
        del root[name]
    group = root.create_group(name)
    index = str(frame.index.name or _INDEX)
    if index in frame.columns or "/" in index:
        index = _INDEX
    version = _OLD if old else _CURRENT
    group.attrs.update({"encoding-type": "dataframe", "encoding-version": version, "_index": index})
    names = np.array([str(value) for value in frame.index], dtype=object)
    if old:
        _write_old_column(group, index, names)
    else:
        _write(group, index, names)
    _set_order(group, [])
    add_columns(group, {column: frame[column].array for column in frame.columns})


def add_columns(frame: Any, columns: Mapping[str, Any]) -> None:
    """Add columns to a table on disk, in its own encoding; the others do not change.

    Parameters
    ----------
    frame
        The group of a table written by AnnData 0.7 or later.
    columns
        Values by name, one per row; an existing column is replaced.

    Raises
    ------
    InputFileError
        If a name is not allowed, or its values cannot be written.
    """
    order = column_order(frame)
    index, old = text_attribute(frame, "_index"), is_old(frame)
    for name, values in columns.items():
        if name in (index, _INDEX) or not all(part.strip(".") for part in name.split("/")):
            raise InputFileError(f"a column named {name!r} cannot be written; rename it")
        if name in frame:
            del frame[name]
        try:
            _write_column(frame, name, values, old)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputFileError(f"the column {name!r} cannot be written ({error})") from error
        if name not in order:
            order.append(name)
    _set_order(frame, order)


def drop_columns(frame: Any, names: Iterable[str]) -> None:
    """Remove columns from a table on disk, if present."""
    order = column_order(frame)
    for name in set(names).intersection(order):
        order.remove(name)
        for place in (name, f"__categories/{name}"):
            if place in frame:
                del frame[place]
    _set_order(frame, order)


def column_order(frame: Any) -> list[str]:
    """Return the names of a table's columns."""
    # For no columns AnnData writes an empty array of numbers.
    return [str(name) for name in attribute(frame, "column-order", [])]


def write_element(group: Any, name: str, value: Any, *, old: bool = False) -> None:
    """Write any value that AnnData can hold; an existing element is replaced.

    Parameters
    ----------
    group, name
        The parent group and the element's name.
    value
        The value; dictionaries and tables are written item by item.
    old
        Whether to use the encoding of AnnData before 0.8.
    """
    if name in group:
        del group[name]
    if isinstance(value, pd.DataFrame):
        write_frame(group, name, value, old=old)
    elif isinstance(value, Mapping):
        held = group.create_group(name)
        # Before 0.8 a dictionary was a group without encoding attributes.
        if not old:
            held.attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
        for key, part in value.items():
            write_element(held, key, part, old=old)
    else:
        _write(group, name, value)


def _write(group: Any, name: str, value: Any) -> None:
    # Never sharded, whatever AnnData's default: annotation is small.
    settings = {} if isinstance(group, h5py.Group) else {"shards": None}
    anndata.io.write_elem(group, name, _portable(value), dataset_kwargs=settings)


def _portable(value: Any) -> Any:
    """Return strings as an object array, or as categories if some are missing."""
    if isinstance(value, pd.Series | pd.Index):
        value = value.array
    if isinstance(value, list):
        value = np.array(value, dtype=object) if _are_texts(value) else np.array(value)
    if isinstance(value, pd.Categorical):
        return _categories(value)
    if isinstance(value, pd.arrays.NumpyExtensionArray):
        value = value.to_numpy()
    if not pd.api.types.is_string_dtype(getattr(value, "dtype", None)):
        return value
    values = np.asarray(value, dtype=object)
    missing = pd.isna(values)
    if missing.any() and _are_texts(values[~missing].tolist()):
        # Only the newer nullable string array can hold missing strings.
        return _categories(pd.Categorical(values))
    return values


def _are_texts(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, str) for value in values)


def _categories(values: pd.Categorical) -> pd.Categorical:
    names = values.categories
    if not pd.api.types.is_string_dtype(names.dtype):
        return values
    plain = pd.Index(np.asarray(names, dtype=object), dtype=object)
    return pd.Categorical.from_codes(values.codes, categories=plain, ordered=values.ordered)


def _write_column(frame: Any, name: str, values: Any, old: bool) -> None:
    if old:
        _write_old_column(frame, name, values)
        return
    # A slash in a name becomes a nested group, which every AnnData reads.
    folder, _, leaf = name.rpartition("/")
    _write(frame.require_group(folder) if folder else frame, leaf, values)


def _write_old_column(frame: Any, name: str, values: Any) -> None:
    """Write a column as AnnData 0.7 did: categories as codes that refer to their names."""
    values = _portable(values)
    if not isinstance(values, pd.Categorical):
        _write(frame, name, values)
        return
    at = f"__categories/{name}"
    if at in frame:
        del frame[at]
    names = frame.require_group("__categories")
    _write(names, name, np.asarray(values.categories))
    names[name].attrs["ordered"] = bool(values.ordered)
    _write(frame, name, values.codes)
    frame[name].attrs["categories"] = names[name].ref if isinstance(frame, h5py.Group) else at


def _set_order(frame: Any, order: list[str]) -> None:
    if not isinstance(frame, h5py.Group):
        frame.attrs["column-order"] = order
        return
    names: npt.NDArray[np.object_] = np.array(order, dtype=object)
    frame.attrs["column-order"] = names.astype(h5py.string_dtype())
