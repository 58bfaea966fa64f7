"""Sources of gene files: NCBI, STRING, or any URL."""

import hashlib
import logging
import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from cellkin.indexer.genes.download import Download, Progress, download
from cellkin.indexer.genes.string_db import string_taxon
from cellkin.wire.errors import NotFoundError

_log = logging.getLogger("cellkin.indexer")

Source: TypeAlias = str | Path
"""A path, or an http or https URL."""

NCBI_URL = "https://ftp.ncbi.nlm.nih.gov/gene/DATA"
NCBI_FILES = (
    "gene_info.gz",
    "gene_summary.gz",
    "gene_orthologs.gz",
    "gene2ensembl.gz",
    "gene_history.gz",
)
"""Each contains all species."""
STRING_URL = "https://stringdb-downloads.org/download"
STRING_VERSION = "12.0"


def fetch_gene_files(
    folder: Path,
    taxa: Sequence[int],
    *,
    ncbi_url: str = NCBI_URL,
    string_url: str = STRING_URL,
    string_version: str = STRING_VERSION,
    progress: Progress | None = None,
) -> list[Download]:
    """Download the gene files of NCBI, which contain all species, and those of STRING for some.

    Files that are present and unchanged on the server are not downloaded again.

    Parameters
    ----------
    folder
        Where the files go; created if it does not exist.
    taxa
        NCBI taxonomy ids of the species whose STRING files to download.
    ncbi_url, string_url
        The folders of the files.
    string_version
        Release of STRING.
    progress
        Called after every chunk.

    Returns
    -------
    list[Download]
        In the order of `NCBI_FILES`, then of ``taxa``; species that STRING does not have are left
        out with a warning in the log.

    Raises
    ------
    NotFoundError
        If NCBI's server does not have a file.
    CellkinError
        As `download` does.
    """
    kind = f"protein.info.v{string_version}"
    urls = [f"{ncbi_url.rstrip('/')}/{name}" for name in NCBI_FILES]
    of_string = [f"{string_taxon(taxon)}.{kind}.txt.gz" for taxon in taxa]
    urls += [f"{string_url.rstrip('/')}/{kind}/{name}" for name in of_string]
    found = []
    for url in urls:
        name = url.rpartition("/")[2]
        try:
            found.append(download(url, folder / name, progress=progress))
        except NotFoundError:
            if name not in of_string:
                raise
            _log.warning("STRING has no file %s: the species has only the texts of NCBI", url)
    return found


def local_file(source: Source, downloads: Path | None = None) -> Path:
    """Return the path of a source, downloading it if it is a URL.

    Parameters
    ----------
    source
        A path, or an http or https URL.
    downloads
        Folder that keeps downloads; None for ``~/.cache/cellkin/downloads``.

    Raises
    ------
    InvalidArgumentError
        If it is another kind of URL.
    CellkinError
        As `download` does.
    """
    if isinstance(source, Path) or "://" not in source:
        return Path(source)
    folder = downloads or Path.home() / ".cache" / "cellkin" / "downloads"
    location = re.split(r"[?#]", source.partition("://")[2])[0]
    name = Path(urllib.parse.unquote(location.partition("/")[2])).name
    # Readers look at the name; two servers may have different files of the same name.
    key = hashlib.sha256(source.encode()).hexdigest()[:16]
    return download(source, folder / key / (name.lstrip(".") or "file")).path
