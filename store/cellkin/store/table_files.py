"""How Lance names the files of a table, for what is older, copied or removed file by file."""

import re

SUFFIX = ".lance"
"""How the name of the folder of a table ends."""
VERSIONS, DATA, DELETIONS, TAGS = "_versions", "data", "_deletions", "_refs/tags"
_MANIFEST = re.compile(r"(\d+)\.manifest")
# Of the two ways in which Lance names manifests the usual one lets the newest sort first.
_COUNTED_DOWN = 2**64 - 1


def version_of(path: str) -> tuple[str, int]:
    """Return the table and the version that the file at a path is the manifest of.

    Parameters
    ----------
    path
        Relative to the store.

    Returns
    -------
    table, version
        The name without its suffix; the number is 0 where the file is no manifest.
    """
    folder, _, name = path.partition(f"{SUFFIX}/{VERSIONS}/")
    match = _MANIFEST.fullmatch(name)
    number = int(match[1]) if match else 0
    return folder, _COUNTED_DOWN - number if number > _COUNTED_DOWN // 2 else number


def manifest_paths(table: str, version: int) -> tuple[str, str]:
    """Return the two paths that the manifest of a version may have, relative to the store."""
    folder = f"{table}{SUFFIX}/{VERSIONS}"
    return f"{folder}/{_COUNTED_DOWN - version:020}.manifest", f"{folder}/{version}.manifest"
