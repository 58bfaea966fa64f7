"""Folders of files on a disk of this machine."""

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
    """Folders on a disk of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def require_safe_writers(self) -> None:
        """Do nothing: renaming is atomic on a local disk."""

    def publish(self, parent: str, write: Callable[[Path], None]) -> tuple[str, dict[str, str]]:
        """Write a folder under the digest of its content.

        The files are written elsewhere, synced to the disk and moved into place in one step, so
        the folder is there whole or not at all. The same content again is the same folder: where
        it is there and whole its time becomes that of now, so that no clean-up takes it for old;
        where it is damaged it is replaced.

        Parameters
        ----------
        parent
            Where the folder goes, relative to the store.
        write
            Writes the files into the empty folder it is given.

        Returns
        -------
        path
            Relative to the store; its last part is the digest.
        files
            SHA-256 of each file by name, hexadecimal.

        Raises
        ------
        ConflictError
            If another process removes the folder as often as it is written.
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
            for _ in range(_ATTEMPTS):
                if _move(partial, folder):
                    sync(place)
                    note_checked(folder, files)
                    break
                if _reused(folder, files):
                    break
            else:
                raise ConflictError(f"{folder}: another process removes it; run the command again")
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return f"{parent}/{folder.name}", files

    def folder(self, path: str, files: Mapping[str, str], what: str, again: bool = True) -> Path:
        """Return the folder, its digests checked; see `Files.folder`.

        Raises
        ------
        IntegrityError
            If a file is missing or differs.
        """
        check_files(self._root / path, files, what, again)
        return self._root / path

    def check(self, path: str, files: Mapping[str, str], what: str) -> None:
        """Refuse a folder whose files differ; see `Files.check`."""
        check_files(self._root / path, files, what)

    def found(self, parent: str) -> Iterator[Found]:
        """Yield what cellkin wrote two levels below a folder; see `Files.found`."""
        for named in self._plain_folders(self._root / parent):
            for folder in self._plain_folders(named):
                path = folder.relative_to(self._root).as_posix()
                # cellkin writes folders of files, and neither folders nor links into them.
                if is_own_folder(path) and _has_files_alone(folder):
                    yield from self._measured(folder)

    def folders(self) -> list[str]:
        """Return the names of the folders of the store, ascending; links are none."""
        return [folder.name for folder in self._plain_folders(self._root)]

    def walk(self, folder: str) -> Iterator[Found]:
        """Yield the files below a folder, at any depth; none where there is no such folder."""
        place = self._root / folder
        if self._through_link(place):
            return
        for above, _, names in os.walk(place):
            for name in sorted(names):
                path = Path(above) / name
                if _is_plain_file(path):
                    yield from self._measured(path)

    def touch(self, path: str) -> None:
        """Let a file or a folder be as one that was written now.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        """
        os.utime(self._root / path)

    def remove(self, path: str, keep: Callable[[Found], bool]) -> Found | None:
        """Remove a file or a folder unless it is wanted after all; see `Files.remove`.

        It is moved out of the way before the last look, so that whoever publishes the same
        meanwhile either is seen or finds nothing there to build on.
        """
        place = self._root / path
        found = next(self._measured(place), None)
        if found is None or keep(found):
            return None
        aside = place.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
        try:
            place.rename(aside)
        except FileNotFoundError:  # another clean-up was first
            return None
        wanted = True
        try:
            found = Found.of(path, self._measured(aside))
            os.utime(aside)  # to another clean-up it is not old while this one looks
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
        """Yield the bytes of a file, some MB at a time."""
        with (self._root / path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write a file, whole or not at all; one that is there is replaced."""
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
        """Tell whether a link leads from the store to a path in it."""
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
        """Yield a file or folder as it is now; nothing where it is gone."""
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


def _move(source: Path, target: Path) -> bool:
    """Move a file or folder to where nothing is; False where something is."""
    try:
        source.rename(target)
    except OSError:
        if target.exists():
            return False
        raise
    return True


def _reused(folder: Path, files: Mapping[str, str]) -> bool:
    """Make a folder that is there young, or move it away if it is damaged."""
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
    except FileNotFoundError:  # another clean-up removed it
        return False


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _ignore_missing(function: object, path: str, info: tuple[object, object, object]) -> None:
    """Go on where another clean-up removed something first."""
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]  # type: ignore[misc]  # what `shutil.rmtree` has caught
