"""Write HDF5 files so that a full disk raises an error instead of crashing."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py


@contextmanager
def hdf5_file(path: Path, mode: str) -> Iterator[h5py.File]:
    """Open a file for writing; if the block fails, it is closed without further writes.

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
    """Open a file without write buffers.

    Otherwise HDF5 writes buffered values when Python frees the dataset, where an error is only
    printed.
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
    """Reserve disk space for data still in memory: HDF5 cannot recover from a failed flush."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.id.get_vfd_handle(), 0, file.id.get_filesize())
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise


def _divert(file: h5py.File) -> None:
    """Discard what HDF5 has yet to write.

    HDF5 cannot close a file that it cannot write: it retries at process exit and crashes.
    """
    nowhere = _scratch()
    # Redirect the file descriptor that HDF5 writes to.
    os.dup2(nowhere, file.id.get_vfd_handle())
    os.close(nowhere)


def _scratch() -> int:
    """Return the descriptor of an anonymous file, freed when it is closed."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("cellkin")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
