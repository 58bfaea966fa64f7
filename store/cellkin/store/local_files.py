"""Files and folders on a local disk."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cellkin.store.checked import note_checked
from cellkin.store.folders import (
    Found,
    check_files,
    file_digests,
    folder_digest,
    is_own_folder,
)
from cellkin.store.small_files import PARTIAL, sync
from cellkin.wire.errors import ConflictError, IntegrityError

_ATTEMPTS = 5
_CHUNK = 1 << 22


class LocalFiles:
    """Files and folders on a local disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def require_safe_writers(self) -> None:
        """Do nothing: renames are atomic on a local disk."""

    def publish(self, parent: str, write: Callable[[Path], None]) -> tuple[str, dict[str, str]]:
        """Write a folder named by the digest of its content.

        The files are written elsewhere, synced to disk and renamed into place in one step, so the
        folder is complete or absent. Equal content has the same folder: if it exists and is
        intact, its time is set to now, so that garbage collection does not consider it old; if it
        is damaged, it is replaced.

        Parameters
        ----------
        parent
            Parent folder, relative to the store.
        write
            Writes the files into the empty folder it is given.

        Returns
        -------
        path
            Path relative to the store; its last part is the digest.
        files
            SHA-256 of each file by name, hexadecimal.

        Raises
        ------
        ConflictError
            If another process keeps removing the folder.
        """
        place = self._root / parent
        partial = place / f"{PARTIAL}{uuid.uuid4().hex}"
        partial.mkdir(parents=True)
        try:
            write(partial)
            files = file_digests(partial)
            folder = place / folder_digest(files)
            for path in partial.iterdir():
                sync(path)
            sync(partial)
            put_in_place(partial, folder, files)
            sync(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return f"{parent}/{folder.name}", files

    def folder(self, path: str, files: Mapping[str, str], what: str, again: bool = True) -> Path:
        """Return the folder after checking its digests; see `Files.folder`.

        Raises
        ------
        IntegrityError
            If a file is missing or differs.
        """
        check_files(self._root / path, files, what, again)
        return self._root / path

    def check(self, path: str, files: Mapping[str, str], what: str) -> None:
        """Check the files of a folder; see `Files.check`."""
        check_files(self._root / path, files, what)

    def found(self, parent: str) -> Iterator[Found]:
        """Yield the folders cellkin wrote two levels below a folder; see `Files.found`."""
        for named in self._plain_folders(self._root / parent):
            for folder in self._plain_folders(named):
                path = folder.relative_to(self._root).as_posix()
                # cellkin's folders contain only files, neither folders nor links.
                if is_own_folder(path) and _has_files_alone(folder):
                    yield from self._measured(folder)

    def folders(self) -> list[str]:
        """Return the names of the top-level folders of the store, sorted, without links."""
        return [folder.name for folder in self._plain_folders(self._root)]

    def walk(self, folder: str) -> Iterator[Found]:
        """Yield the files below a folder, at any depth; nothing if it does not exist."""
        place = self._root / folder
        if self._through_link(place):
            return
        for above, _, names in os.walk(place):
            for name in sorted(names):
                path = Path(above) / name
                if _is_plain_file(path):
                    yield from self._measured(path)

    def touch(self, path: str) -> None:
        """Set the time of a file or folder to now.

        Raises
        ------
        FileNotFoundError
            If it does not exist.
        """
        os.utime(self._root / path)

    def remove(self, path: str, keep: Callable[[Found], bool]) -> Found | None:
        """Remove a file or folder unless ``keep`` returns True; see `Files.remove`.

        It is renamed before the last check, so that a concurrent publication of the same content
        is either seen by the check or finds nothing to reuse.
        """
        place = self._root / path
        found = next(self._measured(place), None)
        if found is None or keep(found):
            return None
        aside = place.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
        try:
            place.rename(aside)
        except FileNotFoundError:  # another collection was first
            return None
        wanted = True
        try:
            found = Found.of(path, self._measured(aside))
            os.utime(aside)  # so that another collection does not consider it old meanwhile
            wanted = keep(found)
        finally:
            wanted = wanted and _move(aside, place)
        if wanted:
            return None
        if aside.is_dir():
            shutil.rmtree(aside, onerror=_ignore_missing)
        else:
            aside.unlink(missing_ok=True)
        return found

    def read(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a file, a few MB at a time."""
        with (self._root / path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write or replace a file atomically."""
        place = self._root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
        try:
            with partial.open("xb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(place)
            sync(place.parent)
        finally:
            partial.unlink(missing_ok=True)

    def _through_link(self, path: Path) -> bool:
        """Return whether a path of the store, or a parent of it in the store, is a link."""
        below = path.relative_to(self._root).parts
        return any(self._root.joinpath(*below[:n]).is_symlink() for n in range(1, len(below) + 1))

    def _plain_folders(self, place: Path) -> list[Path]:
        try:
            if self._through_link(place):
                return []
            with os.scandir(place) as entries:
                return sorted(Path(e.path) for e in entries if e.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def _measured(self, place: Path) -> Iterator[Found]:
        """Yield the current state of a file or folder; nothing if it is gone."""
        try:
            own = place.lstat()
            n_files, n_bytes, newest = 1, own.st_size, own.st_mtime
            if place.is_dir():
                n_files = n_bytes = 0
                for above, folders, names in os.walk(place):
                    for name in folders + names:
                        stat = (Path(above) / name).lstat()
                        newest = max(newest, stat.st_mtime)
                        if name in names:
                            n_files, n_bytes = n_files + 1, n_bytes + stat.st_size
        except FileNotFoundError:
            return
        path = place.relative_to(self._root).as_posix()
        yield Found(path, n_files, n_bytes, datetime.fromtimestamp(newest, UTC))


def put_in_place(partial: Path, folder: Path, files: Mapping[str, str]) -> None:
    """Rename a folder of checked files, unless its new name has these files already.

    Other processes may do the same, or read the folder: it is only replaced if it is damaged.

    Parameters
    ----------
    partial
        The folder to rename.
    folder
        Its new name, on the same disk.
    files
        SHA-256 of each file by name, hexadecimal.

    Raises
    ------
    ConflictError
        If another process keeps removing the folder.
    """
    for _ in range(_ATTEMPTS):
        if _move(partial, folder):
            note_checked(folder, files)
            return
        if _reused(folder, files):
            return
    raise ConflictError(f"{folder}: another process removes it; run the command again")


def _move(source: Path, target: Path) -> bool:
    """Rename a file or folder; return False, with no effect, if the target exists.

    Only an empty folder is replaced, by another folder.
    """
    try:
        if source.is_dir():
            source.rename(target)
        else:  # renaming would replace a file
            os.link(source, target)
            source.unlink()
    except OSError:
        if target.exists():
            return False
        raise
    return True


def _reused(folder: Path, files: Mapping[str, str]) -> bool:
    """Set the time of an intact folder to now and return True; remove a damaged one."""
    try:
        os.utime(folder)
        check_files(folder, files, str(folder))
    except FileNotFoundError:
        return False
    except IntegrityError:
        aside = folder.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
        return False
    return folder.is_dir()


def _has_files_alone(folder: Path) -> bool:
    try:
        return all(_is_plain_file(part) for part in folder.iterdir())
    except FileNotFoundError:  # another collection removed it
        return False


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _ignore_missing(function: object, path: str, info: tuple[object, object, object]) -> None:
    """Ignore files that another collection removed first."""
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]  # type: ignore[misc]  # the exception that `shutil.rmtree` caught
