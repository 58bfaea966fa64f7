"""Attributes of groups and arrays, whoever wrote them."""

from typing import Any

import numpy as np

from cellkin.matrices.table import texts


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of an HDF5 or zarr group or array.

    R and C write text of a fixed length, which h5py returns as bytes, and R writes a single value
    as an array of one.

    Parameters
    ----------
    node
        The group or array.
    name
        Name of the attribute.
    default
        What is returned where there is none.

    Returns
    -------
    Any
        Text as ``str``; several texts as a list of them; anything else as it is kept.
    """
    value = node.attrs.get(name, default)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray) and value.dtype.kind in "SUO":
        return texts(value)
    return value


def text_attribute(node: Any, name: str) -> str:
    """Return an attribute that is one text, '' where there is none."""
    value = attribute(node, name, "")
    return str(value[0]) if isinstance(value, list) and len(value) == 1 else str(value)
