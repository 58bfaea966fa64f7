"""Consolidated zarr metadata: the copy of all metadata in one file, which readers use."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NODE = "zarr.json"
_V2, _V2_NODES, _V2_ARRAY = ".zmetadata", (".zgroup", ".zarray", ".zattrs"), ".zarray"
_HELD = "consolidated_metadata"


def renew_consolidated(folder: Path) -> None:
    """Update the consolidated metadata of a folder, if it has any.

    The metadata of each node is copied verbatim. zarr's own function would rewrite it in the
    installed version's form, with type names that the zarr that wrote the folder may not know.

    Parameters
    ----------
    folder
        The folder of a zarr group.
    """
    own, v2 = folder / _NODE, folder / _V2
    if own.is_file():
        root = _read(own)
        if root.get(_HELD) is not None:
            root[_HELD] = _inline({name: node for name, node in _nodes(folder) if name})
            own.write_text(json.dumps(root))
    elif v2.is_file():
        held = _read(v2) | {"metadata": dict(_v2_nodes(folder))}
        v2.write_text(json.dumps(held))


def _nodes(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the relative path and the metadata of every zarr v3 node."""
    for at, below, files in os.walk(folder):
        if _NODE not in files:
            continue
        node = _read(Path(at) / _NODE)
        if node["node_type"] == "array":
            below.clear()  # nothing but chunks
        else:
            node[_HELD] = _inline({})  # as zarr writes it for nested groups
        below.sort()
        name = Path(at).relative_to(folder).as_posix()
        yield ("" if name == "." else name), node


def _v2_nodes(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the relative path and the contents of every zarr v2 metadata file."""
    for at, below, files in os.walk(folder):
        if _V2_ARRAY in files:
            below.clear()
        below.sort()
        for name in sorted(set(files) & set(_V2_NODES)):
            path = Path(at) / name
            yield path.relative_to(folder).as_posix(), _read(path)


def _inline(nodes: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "inline", "must_understand": False, "metadata": nodes}


def _read(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read
