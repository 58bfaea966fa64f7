"""Operating system failures as cellkin errors: a full disk, no permission, no memory.

Libraries report them differently: Python by `OSError.errno`, HDF5 and Rust libraries by a number in
the text of any exception, FAISS by words alone.
"""

import errno
import os
import re

from cellkin.wire.errors import (
    CellkinError,
    FailedPreconditionError,
    InputFileError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnavailableError,
)

_WORDS = {
    os.strerror(number): number
    for number in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EMFILE,
        errno.ENFILE,
        errno.EROFS,
        errno.EACCES,
    )
}
_IN_TEXT = re.compile(r"\(os error (\d+)\)|\berrno = (\d+)|\bOs \{ code: (\d+)")
_NO_MEMORY = re.compile(
    r"can't start new thread|std::bad_alloc|[Cc]annot allocate memory"
    r"|failed to map segment from shared object"
)
_PLACE_IN_SOURCE = re.compile(r",? ?(?:at )?/[^\s,:]+\.rs:\d+(?::\d+)?")
_Meaning = tuple[type[CellkinError], str, str]


def _of(numbers: tuple[int, ...], *meaning: object) -> dict[int, _Meaning]:
    return dict.fromkeys(numbers, meaning)  # type: ignore[arg-type]


# errno: the error, what happened, what to do.
_MEANINGS: dict[int, _Meaning] = {
    **_of(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        *(ResourceExhaustedError, "the disk is full", "make room and try again"),
    ),
    **_of(
        (errno.EMFILE, errno.ENFILE),
        *(ResourceExhaustedError, "too many files are open", "raise the limit (ulimit -n)"),
    ),
    **_of(
        (errno.ENOMEM,),
        *(ResourceExhaustedError, "there is not enough memory", "give it more, or ask for less"),
    ),
    **_of(
        (errno.EAGAIN,),
        *(ResourceExhaustedError, "the machine has no more to give", "try again later"),
    ),
    **_of(
        (errno.EACCES, errno.EPERM),
        *(PermissionDeniedError, "not permitted", "check owner and mode of the files"),
    ),
    **_of(
        (errno.EROFS,),
        *(PermissionDeniedError, "the file system is read-only", "mount it to be written to"),
    ),
    **_of(
        (errno.ENOTDIR,),
        *(FailedPreconditionError, "a file is where a folder belongs", "move it away"),
    ),
    **_of(
        (errno.ENOENT, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
        *(InputFileError, "no such file can be used", "check the path"),
    ),
    **_of(
        (errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV),
        *(UnavailableError, "the disk fails", "look at the log of the system"),
    ),
}
_ELSE: _Meaning = UnavailableError, "the machine refuses", "try again"


def machine_failure(error: BaseException, what: str) -> CellkinError | None:
    """Return the error to raise if the operating system, not cellkin or its input, is the cause.

    Parameters
    ----------
    error
        The exception raised by a library or by Python.
    what
        What could not be done and where, such as ``store /data/s cannot be written``.

    Returns
    -------
    failure
        Its ``metadata`` has the name of the errno, if there is one. None if the operating system is
        not the cause.
    """
    if isinstance(error, CellkinError):
        return None
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        kind, why, instead = _MEANINGS[errno.ENOMEM]
        return kind(f"{what}: {why}; {instead}")
    number = os_errno(error)
    if number is None:
        return None
    kind, why, instead = _MEANINGS.get(number, _ELSE)
    name = errno.errorcode.get(number, str(number))
    return kind(f"{what}: {why} ({plain_text(error)}); {instead}", {"errno": name})


def os_errno(error: BaseException) -> int | None:
    """Return the errno behind an exception; None if there is none."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    if found := _IN_TEXT.search(text):
        return int(next(filter(None, found.groups())))
    return next((number for words, number in _WORDS.items() if words in text), None)


def plain_text(error: BaseException) -> str:
    """Return the first line of an exception's message, without source locations of libraries."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return _PLACE_IN_SOURCE.sub("", lines[0]).strip(" ,:")
