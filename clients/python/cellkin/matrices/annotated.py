"""Write results into annotated copies of files, as AnnData."""

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

# Per cell: about 60 bytes, a vector of 768 values, the probabilities of 200 labels.
_BYTES_A_CELL = 4096
# A rewritten file may be compressed less than the source.
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

    A target in the same container as the source (``.h5ad`` from ``.h5ad``, ``.zarr`` from zarr,
    ``.h5mu`` from MuData) is a byte-for-byte copy of everything, with the new columns added in
    encodings that the AnnData that wrote the source can read. It keeps all modalities; the results
    go into the one that was read. An ``.h5ad`` from MuData has that modality only. Any other target
    has the matrix that was read, obs and var.

    Parameters
    ----------
    source
        The file, of any readable format; not changed.
    target
        ``.h5ad``, ``.zarr`` or, for MuData, ``.h5mu``; written atomically.
    obs, obsm, var, uns
        Values to add by name, replacing existing ones; ``var`` has one value per stored column of
        the matrix, including those that are not genes.
    how
        The matrix that was read; ``var`` describes its genes.
    stale
        Names in ``obs`` and ``obsm`` to remove from the copy if present.
    overwrite
        Whether to replace an existing target.

    Raises
    ------
    AlreadyExistsError
        If the target exists and may not be overwritten.
    InvalidArgumentError
        If the target is the source, or its suffix is not supported.
    InputFileError
        If the target cannot be written.
    PermissionDeniedError, ResourceExhaustedError
        If the cause is a missing permission or a full disk.
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
    """Raise the errors of `write_annotated` before there is anything to write.

    Parameters
    ----------
    source, target, how, overwrite
        As for `write_annotated`.

    Raises
    ------
    AlreadyExistsError, InvalidArgumentError, InputFileError
        As `write_annotated`.
    ResourceExhaustedError
        If the disk has not enough space.
    """
    require_target(target, source, overwrite)
    ending = _ending(target)
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    growth, n_cells = _GROWTH, 0
    with ExitStack() as stack, refusing(source):
        tree = open_tree(source, stack) if source.exists() else None
        if ending == ".h5mu" and (tree is None or not tree.modality_path(how)):
            raise InvalidArgumentError(
                f"{target}: {source} is not MuData, whose copy is .h5mu; give OUT.h5ad or OUT.zarr"
            )
        if tree is not None:
            found, genes = tree.annotation(how)
            n_cells = len(found.names())
            if is_same_container(tree, ending):
                growth = 1
            else:
                # Write to memory, to find columns that cannot be written.
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
