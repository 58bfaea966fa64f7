"""Notes on files that passed a digest check, so that a server can start without rereading them.

A note holds each file's size, inode and times, which change if the file is written, replaced or
touched. Notes are valid for one machine and one path. Damage to the disk without a write is found
by `cellkin indexes verify`, which ignores notes.
"""

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

_NOTES = "checked"

State: TypeAlias = dict[str, list[str | int]]


def cache_folder() -> Path:
    """Return the folder for cached data, which can be deleted safely."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "cellkin"


def was_checked(folder: Path, files: Mapping[str, str]) -> bool:
    """Return whether files of a folder had these digests and were not touched since.

    Parameters
    ----------
    folder
        Folder of the files.
    files
        SHA-256 of each by name, hexadecimal.
    """
    try:
        return noted_state(folder) == state_of(folder, files)
    except OSError:
        return False


def note_checked(folder: Path, files: Mapping[str, str]) -> None:
    """Note that files of a folder have these digests; errors are ignored."""
    try:
        note_state(folder, state_of(folder, files))
    except OSError:
        return


def noted_state(place: Path) -> State | None:
    """Return the noted state of a path; None if there is none or it cannot be read."""
    try:
        noted: State = json.loads(_note_of(place).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return noted


def note_state(place: Path, state: State) -> None:
    """Note the state of files that passed their check; errors are ignored."""
    note = _note_of(place)
    # Threads of one process may write the same note.
    partial = note.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(state), encoding="utf-8")
        partial.replace(note)
    except OSError:
        return


def _note_of(place: Path) -> Path:
    name = hashlib.sha256(str(place.resolve()).encode()).hexdigest()
    return cache_folder() / _NOTES / f"{name}.json"


def state_of(folder: Path, files: Mapping[str, str]) -> State:
    """Return the expected digests of files, with the attributes that change when one is touched.

    Raises
    ------
    OSError
        If the attributes of a file cannot be read.
    """
    stats = {name: (folder / name).stat() for name in files}
    return {
        name: [digest, s.st_size, s.st_ino, s.st_dev, s.st_mtime_ns, s.st_ctime_ns]
        for (name, digest), s in zip(files.items(), stats.values(), strict=True)
    }
