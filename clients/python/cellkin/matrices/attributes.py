"""Read attributes of groups and arrays, as written from Python, R or C."""

from typing import Any

import numpy as np

from cellkin.matrices.table import texts


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of an HDF5 or zarr group or array.

    R and C write fixed-length strings, which h5py returns as bytes, and R writes a single value as
    an array of length one.

    Parameters
    ----------
    node
        The group or array.
    name
        Name of the attribute.
    default
        The value if there is no such attribute.

    Returns
    -------
    Any
        ``str`` for a string, a list of ``str`` for an array of strings, else the stored value.
    """
    value = node.attrs.get(name, default)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray) and value.dtype.kind in "SUO":
        return texts(value)
    return value


def text_attribute(node: Any, name: str) -> str:
    """Return a string attribute, '' if there is none."""
    value = attribute(node, name, "")
    return str(value[0]) if isinstance(value, list) and len(value) == 1 else str(value)
