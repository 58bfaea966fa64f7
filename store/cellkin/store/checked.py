"""Which files were found whole already, so that a server need not read gigabytes to start.

A note of a file is its size, inode and times; a file that was written, replaced or touched since
has others. Notes are of one machine and one path. What damages a disk without a write is found by
`cellkin indexes verify`, which never looks at them.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

_NOTES = "checked"


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
        noted = json.loads(_note_of(folder).read_text(encoding="utf-8"))
        return bool(noted == _state(folder, files))
    except (OSError, ValueError):
        return False


def note_checked(folder: Path, files: Mapping[str, str]) -> None:
    """Note that the files of a folder have these digests; where it cannot be noted, it is not."""
    note = _note_of(folder)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        partial = note.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(_state(folder, files)), encoding="utf-8")
        partial.replace(note)
    except OSError:
        return


def _note_of(folder: Path) -> Path:
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()
    return cache_folder() / _NOTES / f"{place}.json"


def _state(folder: Path, files: Mapping[str, str]) -> dict[str, list[str | int]]:
    stats = {name: (folder / name).stat() for name in files}
    return {
        name: [digest, s.st_size, s.st_ino, s.st_dev, s.st_mtime_ns, s.st_ctime_ns]
        for (name, digest), s in zip(files.items(), stats.values(), strict=True)
    }
