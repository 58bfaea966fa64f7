"""HDF5 files that are written: a disk that is full ends in an error and not in a crash."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py


@contextmanager
def hdf5_file(path: Path, mode: str) -> Iterator[h5py.File]:
    """Open a file to write it; where the block fails it is closed as it is, and no more written.

    Parameters
    ----------
    path
        The file.
    mode
        ``w`` or ``r+``.
    """
    file = _open(path, mode)
    try:
        yield file
        _reserve(file)
        file.flush()
    except BaseException:
        _divert(file)
        raise
    finally:
        file.close()


def _open(path: Path, mode: str) -> h5py.File:
    """Open a file so that values are written when they are given.

    What HDF5 holds back of an array it writes when Python forgets the array, where a failure is
    printed and goes on.
    """
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_sieve_buf_size(0)
    _, n_slots, _, share = access.get_cache()
    access.set_cache(0, n_slots, 0, share)
    name = os.fsencode(path)
    if mode == "w":
        return h5py.File(h5py.h5f.create(name, h5py.h5f.ACC_TRUNC, fapl=access))
    return h5py.File(h5py.h5f.open(name, h5py.h5f.ACC_RDWR, fapl=access))


def _reserve(file: h5py.File) -> None:
    """Take the room for what is still in memory: HDF5 is beyond help where its flush fails."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.id.get_vfd_handle(), 0, file.id.get_filesize())
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise


def _divert(file: h5py.File) -> None:
    """Let what HDF5 has yet to write go nowhere.

    It cannot close a file that it cannot write: it tries again when the process ends, and crashes.
    """
    nowhere = _scratch()
    # The number by which HDF5 writes; what it means is changed beneath.
    os.dup2(nowhere, file.id.get_vfd_handle())
    os.close(nowhere)


def _scratch() -> int:
    """Return a file that takes what is written, at any offset, and is gone when it is closed."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("cellkin")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
