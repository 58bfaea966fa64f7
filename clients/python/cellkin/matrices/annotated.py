"""Answers written beside the cells: copies of files as AnnData."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from cellkin.matrices.cells import refusing
from cellkin.matrices.copies import (
    COPIES,
    Copy,
    copy_cells,
    is_same_container,
    open_group,
    write_frames,
)
from cellkin.matrices.elements import add_columns, drop_columns, is_old, write_element
from cellkin.matrices.options import ReadOptions, X
from cellkin.matrices.targets import replacing, require_target, stored_bytes
from cellkin.matrices.trees import open_tree
from cellkin.wire.errors import InvalidArgumentError, ResourceExhaustedError

# Of a cell: some 60 bytes, a vector of 768 values, the probabilities of 200 labels.
_BYTES_A_CELL = 4096
# What is read and written anew may be packed less than it was.
_GROWTH = 2
_NOTHING: Mapping[str, Sequence[str]] = MappingProxyType({})


def write_annotated(
    source: Path,
    target: Path,
    obs: dict[str, Any],
    obsm: dict[str, npt.NDArray[np.float32]],
    var: dict[str, Any],
    uns: dict[str, Any],
    how: ReadOptions = X,
    *,
    stale: Mapping[str, Sequence[str]] = _NOTHING,
    overwrite: bool = False,
) -> None:
    """Write a copy of a file with columns added.

    A target in the container of the source (``.h5ad`` of an ``.h5ad``, ``.zarr`` of zarr, ``.h5mu``
    of MuData) is a copy of everything, byte by byte, to which only what is new is added, in
    encodings that the AnnData which wrote the source reads. Of files of several modalities that is
    all of them, with the answers in the one that was read. An ``.h5ad`` of MuData is that modality
    alone. Any other target has the matrix that was read, obs and var.

    Parameters
    ----------
    source
        The file, of any readable format; stays as it is.
    target
        ``.h5ad``, ``.zarr`` or, of MuData, ``.h5mu``; written whole or not at all.
    obs, obsm, var, uns
        What to add under each name, replacing what has it; ``var`` has a row for every column of
        the matrix, also for those that are no genes.
    how
        The matrix that was read; ``var`` belongs to its genes.
    stale
        Names in ``obs`` and ``obsm`` that the copy shall not have, should the source have them.
    overwrite
        Whether the target may be there already.

    Raises
    ------
    AlreadyExistsError
        If there is something at the target, and it may not be overwritten.
    InvalidArgumentError
        If the target is the source, or its ending is another.
    InputFileError
        If the target cannot be written.
    PermissionDeniedError, ResourceExhaustedError
        If that is for want of permission, or of room on the disk.
    """
    require_target(target, source, overwrite)
    ending = _ending(target)
    with replacing(target) as partial:
        copy = copy_cells(source, partial, ending, how)
        if copy.kept is not None:
            var = {name: values[copy.kept] for name, values in var.items()}
        with open_group(partial, ending, copy.where) as root:
            _drop(root, copy, stale)
            _add(root, copy, obs, {"obsm": obsm, "uns": uns}, var)


def check_writable(
    source: Path, target: Path, how: ReadOptions = X, *, overwrite: bool = False
) -> None:
    """Refuse what `write_annotated` would refuse, before there is anything to write.

    Parameters
    ----------
    source, target, how, overwrite
        As for `write_annotated`.

    Raises
    ------
    AlreadyExistsError, InvalidArgumentError, InputFileError
        As `write_annotated`.
    ResourceExhaustedError
        If the disk has no room for it.
    """
    require_target(target, source, overwrite)
    ending = _ending(target)
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    growth, n_cells = _GROWTH, 0
    with ExitStack() as stack, refusing(source):
        tree = open_tree(source, stack) if source.exists() else None
        if ending == ".h5mu" and (tree is None or not tree.modality_path(how)):
            raise InvalidArgumentError(
                f"{target}: {source} is no MuData, whose copy is .h5mu; give OUT.h5ad or OUT.zarr"
            )
        if tree is not None:
            found, genes = tree.annotation(how)
            n_cells = len(found.names())
            if is_same_container(tree, ending):
                growth = 1
            else:
                # Into memory: whatever a column is called or holds, it is found now.
                write_frames(found.frame(), genes.frame(), ending)
    needed = growth * stored_bytes(source) + n_cells * _BYTES_A_CELL
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceExhaustedError(
            f"{target} needs up to {needed / 1e9:.2f} GB, and {folder} has {free / 1e9:.2f} GB "
            "free; write to another disk"
        )


def _ending(target: Path) -> str:
    if target.suffix not in COPIES:
        raise InvalidArgumentError(
            f"{target} ends in none of {', '.join(COPIES)}, of which cells are copied"
        )
    return target.suffix


def _drop(root: Any, copy: Copy, stale: Mapping[str, Sequence[str]]) -> None:
    held = root[copy.where] if copy.where else root
    drop_columns(held["obs"], stale.get("obs", ()))
    for name in stale.get("obsm", ()):
        if "obsm" in held and name in held["obsm"]:
            del held["obsm"][name]


def _add(
    root: Any, copy: Copy, obs: dict[str, Any], elements: dict[str, Any], var: dict[str, Any]
) -> None:
    held = root[copy.where] if copy.where else root
    old = is_old(held["obs"])
    add_columns(held["obs"], obs)
    add_columns(held[copy.genes], var)
    for group, added in elements.items():
        if group not in held:
            write_element(held, group, {}, old=old)
        for name, value in added.items():
            write_element(held[group], name, value, old=old)
