"""Files that others may read: those of one folder, and nothing they link to elsewhere."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from cellkin.wire.errors import NotFoundError, PermissionDeniedError

_N_NAMED = 20
_N_LISTED = 1000


class Files:
    """The files of a folder.

    Parameters
    ----------
    folder
        The folder; None if no file may be read.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if folder is None else folder.resolve()

    def names(self, endings: tuple[str, ...]) -> list[str]:
        """Return the names of files in the folder and below it, ascending, at most 1000.

        Parameters
        ----------
        endings
            In lower case, of files to name.
        """
        if self._folder is None:
            return []
        found = (path for path in self._folder.rglob("*") if path.name.lower().endswith(endings))
        return sorted(str(path.relative_to(self._folder)) for path in found)[:_N_LISTED]

    def find(self, name: str) -> Path:
        """Return the path of a file.

        Parameters
        ----------
        name
            Its path, relative to the folder.

        Returns
        -------
        Path
            A file or folder that is in the folder, as is everything it links to.

        Raises
        ------
        PermissionDeniedError
            If there is no folder, or the file or what it links to is outside of it.
        NotFoundError
            If it does not exist; the message lists files of the folder.
        """
        if self._folder is None:
            raise PermissionDeniedError(
                "no file may be read; the server was started without --files FOLDER"
            )
        path = self._require_inside(self._folder / name, name)
        if not path.exists():
            there = sorted(each.name for each in self._folder.iterdir())[:_N_NAMED]
            raise NotFoundError(
                f"there is no file {name!r}; there are: {', '.join(there) or 'none'}"
            )
        # Matrix Market files are read with their neighbors.
        for each in _members(path.parent if ".mtx" in path.name else path):
            self._require_inside(each, name)
        require_own_data(path, name)
        return path

    def _require_inside(self, path: Path, name: str) -> Path:
        real = path.resolve()
        if self._folder is None or not real.is_relative_to(self._folder):
            raise PermissionDeniedError(
                f"{name!r} is, or links to, what is outside of the folder of files; give a path "
                "relative to that folder"
            )
        return real


def _members(path: Path) -> Iterator[Path]:
    """Yield the links in a folder and below it."""
    for folder, folders, files in os.walk(path):
        members = (Path(folder, name) for name in (*folders, *files))
        yield from (member for member in members if member.is_symlink())


def require_own_data(path: Path, name: str) -> None:
    """Require that an HDF5 file, gzipped or not, takes no data from other files.

    Parameters
    ----------
    path
        Any file or folder.
    name
        What its user calls it.

    Raises
    ------
    PermissionDeniedError
        If it does.
    """
    if not path.is_file():
        return
    import h5py

    from cellkin.matrices.packed import unpacked_hdf5

    with ExitStack() as stack:
        unpacked = unpacked_hdf5(path, stack)
        if unpacked is None:
            return
        foreign: list[str] = []
        file = stack.enter_context(h5py.File(unpacked))

        def look(at: str, link: object) -> None:
            held = file[at] if isinstance(link, h5py.HardLink) else None
            # Virtual datasets are made of other files, external ones stored in them.
            elsewhere = isinstance(held, h5py.Dataset) and (held.is_virtual or held.external)
            if elsewhere or isinstance(link, h5py.ExternalLink):
                foreign.append(at)

        file.visititems_links(look)
        if foreign:
            raise PermissionDeniedError(f"{name!r} takes {foreign[0]!r} from another file")
