"""Lance's file names, for tables that are copied, checked or removed file by file."""

import re

SUFFIX = ".lance"
"""Suffix of the name of a table's folder."""
VERSIONS, DATA, TAGS = "_versions", "data", "_refs/tags"
_MANIFEST = re.compile(r"(\d+)\.manifest")
# Lance has two naming schemes for manifests; in the usual one, the newest sorts first.
_COUNTED_DOWN = 2**64 - 1


def version_of(path: str) -> tuple[str, int]:
    """Return the table and version of a manifest.

    Parameters
    ----------
    path
        Relative to the store.

    Returns
    -------
    table, version
        The name without its suffix; the version is 0 if the file is not a manifest.
    """
    folder, _, name = path.partition(f"{SUFFIX}/{VERSIONS}/")
    match = _MANIFEST.fullmatch(name)
    number = int(match[1]) if match else 0
    return folder, _COUNTED_DOWN - number if number > _COUNTED_DOWN // 2 else number


def manifest_paths(table: str, version: int) -> tuple[str, str]:
    """Return the two possible paths of the manifest of a version, relative to the store."""
    folder = f"{table}{SUFFIX}/{VERSIONS}"
    return f"{folder}/{_COUNTED_DOWN - version:020}.manifest", f"{folder}/{version}.manifest"
