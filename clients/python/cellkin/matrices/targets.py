"""Write results atomically, without overwriting anything by accident."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cellkin.matrices.trees import is_zarr
from cellkin.wire.errors import (
    AlreadyExistsError,
    CellkinError,
    InputFileError,
    InvalidArgumentError,
)
from cellkin.wire.failures import machine_failure

# The limit of every common file system.
_MAX_NAME_BYTES = 255
_PAUSES_S = (0.02, 0.1, 0.5)


def require_target(target: Path, source: Path | None = None, overwrite: bool = False) -> None:
    """Refuse targets where data would be lost; nothing is created or changed.

    Missing parent folders are accepted: `replacing` creates them.

    Parameters
    ----------
    target
        The path of the result.
    source
        The input file, which must not be changed; None if there is none on disk.
    overwrite
        Whether to replace an existing target. A folder is replaced only if it is zarr and is named
        ``*.zarr``.

    Raises
    ------
    InvalidArgumentError
        If the target is the source (under any name), or one is within the other, or the target
        is a folder that is not replaced.
    AlreadyExistsError
        If the target exists and may not be overwritten.
    InputFileError
        If the folder is not writable, or the name is too long.
    """
    if len(os.fsencode(target.name)) > _MAX_NAME_BYTES:
        raise InputFileError(f"{target} cannot be written: the name is too long")
    if source is not None and source.exists():
        at, given = target.resolve(), source.resolve()
        if at == given or (target.exists() and target.samefile(source)):
            raise InvalidArgumentError(f"{target} is the input itself; give another file")
        if given in at.parents and is_zarr(given):
            raise InvalidArgumentError(f"{target} is within the input; give another folder")
        if at in given.parents:
            raise InvalidArgumentError(f"{target} contains the input; give another name")
    if os.path.lexists(target):
        if not overwrite:
            raise AlreadyExistsError(
                f"{target} is there already; give another name, or overwrite it (--force)"
            )
        if target.is_dir() and (target.suffix != ".zarr" or not is_zarr(target)):
            raise InvalidArgumentError(
                f"{target} is a folder, which is not overwritten; give another name"
            )
    folder = next(parent for parent in target.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputFileError(f"{target} cannot be written: {folder} is no folder you may write to")


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path; what is written there replaces the target at the end.

    Each writer has its own path, so of two concurrent writers the last to finish wins, with a
    complete result. If the target is a link, the file it points to is replaced.

    Parameters
    ----------
    target
        A file, or a folder such as zarr; its parent folders are created.

    Raises
    ------
    InputFileError
        If it cannot be written; the target is then unchanged.
    PermissionDeniedError, ResourceExhaustedError
        If the cause is a missing permission or a full disk.
    """
    final = target.resolve()
    # Not derived from the target's name, which would become longer than the limit.
    partial, old = (final.with_name(f".cellkin-{secrets.token_hex(8)}.partial") for _ in range(2))
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if final.is_dir():
            # A folder can only replace an empty folder.
            final.rename(old)
        partial.replace(final)
    except (OSError, RuntimeError, MemoryError) as error:
        failure = _refusal(target, error)
        if failure is None:
            raise
        raise failure from error
    finally:
        if old.exists() and not final.exists():
            old.rename(final)
        for path in (partial, old):
            _remove(path)


def stored_bytes(path: Path) -> int:
    """Return the size of a file, or the total of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _remove(path: Path) -> None:
    """Remove a file or folder; retries, as zarr's threads may still be writing to it."""
    for pause_s in _PAUSES_S:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if not path.exists():
            return
        time.sleep(pause_s)


def _refusal(target: Path, error: Exception) -> CellkinError | None:
    what = f"{target} cannot be written"
    failure = machine_failure(error, what)
    if failure is None and isinstance(error, OSError):
        return InputFileError(f"{what} ({error})")
    return failure
