"""Select the modality to read in MuData and SpatialData files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cellkin.matrices.features import is_no_expression
from cellkin.wire.errors import InputFileError

# Groups of AnnData: in MuData, in SpatialData.
_CONTAINERS = ("mod", "tables")
# Usual names of the gene expression modality, in any case.
_EXPRESSION = ("rna", "gex", "gene expression", "gene_expression", "geneexpression")


def modalities(root: Any) -> dict[str, str]:
    """Return the group of each modality by name; empty if the file has none.

    Parameters
    ----------
    root
        An ``h5py.File`` or ``zarr.Group``.
    """
    return dict(_found(root))


def modality_path(path: Path, root: Any, wanted: str | None) -> str:
    """Return the group of the modality to read, '' for the root if there are none.

    Parameters
    ----------
    path
        The file's name in errors.
    root
        An ``h5py.File`` or ``zarr.Group``.
    wanted
        The modality asked for; None for gene expression.

    Raises
    ------
    InputFileError
        If there is no such modality, or none was asked for and it is unclear which to read.
    """
    found = modalities(root)
    if not found:
        if wanted is not None:
            raise InputFileError(
                f"{path} has no modality {wanted!r}: it is not MuData or SpatialData; leave "
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
        # zarr lists a folder in file system order.
        for name in sorted(held):
            if "obs" in held[name] and "var" in held[name]:
                yield name, f"{container}/{name}"
