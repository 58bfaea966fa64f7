"""Where results are written: what may be written over, and whole or not at all."""

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

# Of every common file system.
_MAX_NAME_BYTES = 255
_PAUSES_S = (0.02, 0.1, 0.5)


def require_target(target: Path, source: Path | None = None, overwrite: bool = False) -> None:
    """Refuse to write where something would be lost; nothing is made or changed.

    A folder that is not there is no reason: it is made when the result is written.

    Parameters
    ----------
    target
        Where the result goes.
    source
        What the result is made from, which must stay as it is; None for nothing on disk.
    overwrite
        Whether the target may be there already. A folder is replaced only where it is zarr and the
        target is named ``.zarr``.

    Raises
    ------
    InvalidArgumentError
        If the target is the source, by whatever name, or within it, or the source within it.
    AlreadyExistsError
        If there is such a file, and it may not be overwritten.
    InputFileError
        If the folder cannot be written to, or the name is too long for any.
    """
    if len(os.fsencode(target.name)) > _MAX_NAME_BYTES:
        raise InputFileError(f"{target} cannot be written: the name is too long")
    if source is not None and source.exists():
        at, given = target.resolve(), source.resolve()
        if at == given or (target.exists() and target.samefile(source)):
            raise InvalidArgumentError(f"{target} is the query itself; give another file")
        if given in at.parents and is_zarr(given):
            raise InvalidArgumentError(f"{target} is within the query; give another folder")
        if at in given.parents:
            raise InvalidArgumentError(f"{target} holds the query; give another name")
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
    """Yield a name to write to; what is written there takes the place of the target at the end.

    Every writer has a name of its own, so of two at once the last to end stays, whole. Where the
    target is a link, what it refers to is replaced.

    Parameters
    ----------
    target
        A file, or a folder such as zarr; its own folder is made.

    Raises
    ------
    InputFileError
        If it cannot be written; the target is as it was then.
    PermissionDeniedError, ResourceExhaustedError
        If that is for want of permission, or of room on the disk.
    """
    final = target.resolve()
    # Not named after the target, for with a longer name than that it might not be possible.
    partial, old = (final.with_name(f".cellkin-{secrets.token_hex(8)}.partial") for _ in range(2))
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if final.is_dir():
            # A folder takes the place of nothing but an empty one.
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
    """Return the size of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _remove(path: Path) -> None:
    """Remove a file or a folder, to which threads of zarr may be writing a moment longer."""
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
