"""The copy of all metadata that a zarr folder may have in one file, by which readers go."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NODE = "zarr.json"
_V2, _V2_NODES, _V2_ARRAY = ".zmetadata", (".zgroup", ".zarray", ".zattrs"), ".zarray"
_HELD = "consolidated_metadata"


def renew_consolidated(folder: Path) -> None:
    """Bring the copy of all metadata up to date, where a folder has one.

    What every node says of itself is copied as it stands. zarr would have its present version write
    it, with names of types that the zarr which wrote the folder may not know.

    Parameters
    ----------
    folder
        Of a group.
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
    """Yield the path within the folder and the metadata of every node of version 3."""
    for at, below, files in os.walk(folder):
        if _NODE not in files:
            continue
        node = _read(Path(at) / _NODE)
        if node["node_type"] == "array":
            below.clear()  # nothing but chunks
        else:
            node[_HELD] = _inline({})  # as zarr has it of groups within
        below.sort()
        name = Path(at).relative_to(folder).as_posix()
        yield ("" if name == "." else name), node


def _v2_nodes(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path within the folder and the contents of every file of metadata of version 2."""
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
