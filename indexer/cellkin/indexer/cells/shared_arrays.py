"""Pickle an object into a file whose arrays are mapped, not copied, by the processes that read it.

All of them share one copy of the arrays in the page cache.
"""

import mmap
import pickle
from pathlib import Path
from typing import Any

# Arrays begin on cache lines, as those of `cellkin.space.aligned`.
_LINE_BYTES = 64


def write_object(value: Any, path: Path) -> None:
    """Write an object; its arrays go to a second file next to ``path``."""
    buffers: list[memoryview] = []
    pickled = pickle.dumps(
        value, protocol=5, buffer_callback=lambda buffer: buffers.append(buffer.raw())
    )
    places, at = [], 0
    with _arrays(path).open("wb") as file:
        for buffer in buffers:
            places.append((at, at + buffer.nbytes))
            file.write(buffer)
            at += buffer.nbytes
            at += file.write(bytes(-at % _LINE_BYTES))
    path.write_bytes(pickle.dumps((pickled, places)))


def read_object(path: Path) -> Any:
    """Return an object that `write_object` wrote; its arrays are read-only."""
    pickled, places = pickle.loads(path.read_bytes())
    if not places or not places[-1][1]:
        return pickle.loads(pickled, buffers=[b""] * len(places))
    with _arrays(path).open("rb") as file:
        held = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return pickle.loads(pickled, buffers=[held[begin:end] for begin, end in places])


def _arrays(path: Path) -> Path:
    return path.with_name(f"{path.name}.arrays")
