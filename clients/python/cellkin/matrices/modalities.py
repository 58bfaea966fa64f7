"""Files of several modalities, MuData and SpatialData: which of their tables is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cellkin.matrices.features import is_no_expression
from cellkin.wire.errors import InputFileError

# Groups that hold one AnnData each: of MuData, of SpatialData.
_CONTAINERS = ("mod", "tables")
# What expression is called by those who write such files; the case does not matter.
_EXPRESSION = ("rna", "gex", "gene expression", "gene_expression", "geneexpression")


def modalities(root: Any) -> dict[str, str]:
    """Return where each modality of a file is, by name; none where the file is AnnData itself.

    Parameters
    ----------
    root
        An ``h5py.File`` or ``zarr.Group``.
    """
    return dict(_found(root))


def modality_path(path: Path, root: Any, wanted: str | None) -> str:
    """Return where the AnnData that is to be read is within a file, '' for the file itself.

    Parameters
    ----------
    path
        Names the file in errors.
    root
        An ``h5py.File`` or ``zarr.Group``.
    wanted
        The modality that was asked for; None for that of gene expression.

    Raises
    ------
    InputFileError
        If the file has no such modality, or none was asked for and several may be meant.
    """
    found = modalities(root)
    if not found:
        if wanted is not None:
            raise InputFileError(
                f"{path} has no modality {wanted!r}: it is no MuData or SpatialData; leave "
                "--modality out"
            )
        return ""
    names = ", ".join(found)
    if wanted is not None:
        if wanted not in found:
            raise InputFileError(f"{path} has no modality {wanted!r}; it has {names}")
        return found[wanted]
    expression = [name for name in found if name.lower() in _EXPRESSION]
    likely = expression or list(found)
    if not expression and all(map(is_no_expression, found)):
        raise InputFileError(
            f"{path} has no gene expression, only the modalities {names}; if one has genes, say so "
            f"by --modality {likely[0]}"
        )
    if len(likely) > 1:
        raise InputFileError(
            f"{path} has the modalities {names}, and which has gene expression is not plain; "
            f"choose one: --modality {likely[0]}"
        )
    return found[likely[0]]


def _found(root: Any) -> Iterator[tuple[str, str]]:
    for container in _CONTAINERS:
        held = root.get(container)
        if held is None or hasattr(held, "dtype"):
            continue
        # zarr lists a folder in the order of the file system.
        for name in sorted(held):
            if "obs" in held[name] and "var" in held[name]:
                yield name, f"{container}/{name}"
