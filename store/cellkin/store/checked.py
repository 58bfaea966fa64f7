"""Which files were found whole already, so that a server need not read gigabytes to start.

A note of a file is its size, inode and times; a file that was written, replaced or touched since
has others. Notes are of one machine and one path. What damages a disk without a write is found by
`cellkin indexes verify`, which never looks at them.
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
    """Return where cellkin keeps what can be made again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "cellkin"


def was_checked(folder: Path, files: Mapping[str, str]) -> bool:
    """Say whether the files of a folder had these digests and were not touched since.

    Parameters
    ----------
    folder
        Where they are.
    files
        SHA-256 of each by name, hexadecimal.
    """
    try:
        return noted_state(folder) == state_of(folder, files)
    except OSError:
        return False


def note_checked(folder: Path, files: Mapping[str, str]) -> None:
    """Note that the files of a folder have these digests; where it cannot be noted, it is not."""
    try:
        note_state(folder, state_of(folder, files))
    except OSError:
        return


def noted_state(place: Path) -> State | None:
    """Return the state that was noted of a place; None where none was, or it cannot be read."""
    try:
        noted: State = json.loads(_note_of(place).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return noted


def note_state(place: Path, state: State) -> None:
    """Note the state of files that were found whole; where it cannot be noted, it is not."""
    note = _note_of(place)
    # Threads of one process may note the same.
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
    """Return the digests that files should have, and what changes where one is touched.

    Raises
    ------
    OSError
        If a file cannot be looked at.
    """
    stats = {name: (folder / name).stat() for name in files}
    return {
        name: [digest, s.st_size, s.st_ino, s.st_dev, s.st_mtime_ns, s.st_ctime_ns]
        for (name, digest), s in zip(files.items(), stats.values(), strict=True)
    }
