"""AnnData as zarr v2 or v3, in a folder or a zip archive."""

import threading
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore, ZipStore

from cellkin.matrices.anndata_tree import Tree
from cellkin.matrices.ranges import RangeReader
from cellkin.matrices.zarr_chunks import notes_on_chunks, require_codes
from cellkin.wire.errors import InputFileError

_ZARRS = "zarrs.ZarrsCodecPipeline"
_setting = threading.Lock()
_SLOW = ("gzip", "zlib", "bz2", "lzma")


def zarr_tree(path: Path, stack: ExitStack) -> Tree:
    """Open zarr until the stack closes, without checking its contents.

    Raises
    ------
    InputFileError
        If it is a truncated archive.
    """
    if not path.is_dir() and not zipfile.is_zipfile(path):
        raise InputFileError(f"{path} cannot be read as {path.suffix}: the archive is cut short")
    store = LocalStore(path, read_only=True) if path.is_dir() else ZipStore(path, mode="r")
    stack.callback(store.close)
    # Read each array's own metadata: the consolidated copy may be older.
    root = zarr.open_group(store, mode="r", use_consolidated=False)
    container = f"zarr v{root.metadata.zarr_format}"
    return Tree(
        path,
        root,
        container,
        partial(_ranges, path, root),
        _compression,
        _is_slow,
        ready=partial(require_codes, path),
        decoding=partial(_decoding, path),
    )


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Decode arrays opened in this context with zarrs, if it is installed.

    It takes two thirds of the CPU time of zarr's own codecs, but reads only folders.
    """
    if not path.is_dir() or find_spec("zarrs") is None:
        yield
        return
    # The setting is global to the process; without the lock it could stay set.
    with _setting, zarr.config.set({"codec_pipeline.path": _ZARRS}), warnings.catch_warnings():
        # zarrs warns when it falls back to zarr's own codecs.
        warnings.filterwarnings("ignore", "Array is unsupported by")
        yield


def _ranges(path: Path, root: Any, array: Any) -> RangeReader:
    return RangeReader(array, 0, whole_chunks=True, notes=notes_on_chunks(path, root, array))


def _codecs(array: Any) -> list[str]:
    return [
        getattr(codec, "codec_id", None) or type(codec).__name__.removesuffix("Codec").lower()
        for codec in array.compressors
    ]


def _compression(array: Any) -> str:
    return " and ".join(_codecs(array)) or "uncompressed"


def _is_slow(array: Any) -> bool:
    return any(name in _SLOW for name in _codecs(array))
