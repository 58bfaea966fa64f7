"""Where gene files come from: NCBI, STRING, or any URL a user names."""

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
"""Each holds all species."""
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
    """Download NCBI's gene files, which hold all species, and STRING's of some.

    What is there and unchanged on the server is left as it is.

    Parameters
    ----------
    folder
        Where the files go; made if it is not there.
    taxa
        NCBI taxonomy ids of the species whose STRING files are wanted.
    ncbi_url, string_url
        The folders the files are in.
    string_version
        Release of STRING.
    progress
        Called for every piece that arrives.

    Returns
    -------
    list[Download]
        In the order of `NCBI_FILES`, then of ``taxa``; without the species STRING does not have,
        of which the log tells.

    Raises
    ------
    NotFoundError
        If a server has no such file of NCBI.
    UnavailableError
        If a server cannot be reached, refuses, or cuts the connection again and again.
    IntegrityError
        If the bytes have another MD5 than the server said.
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
            _log.warning("STRING has no file %s: the species' texts are those of NCBI alone", url)
    return found


def local_file(source: Source, downloads: Path | None = None) -> Path:
    """Return a source as a local file, downloaded where it is a URL.

    Parameters
    ----------
    source
        A path, or an http or https URL.
    downloads
        Folder that keeps downloads for the next time; None: ``~/.cache/cellkin/downloads``.

    Raises
    ------
    InvalidArgumentError
        If it is a URL of another kind.
    NotFoundError, UnavailableError, IntegrityError
        As `fetch_gene_files`.
    """
    if isinstance(source, Path) or "://" not in source:
        return Path(source)
    folder = downloads or Path.home() / ".cache" / "cellkin" / "downloads"
    location = re.split(r"[?#]", source.partition("://")[2])[0]
    name = Path(urllib.parse.unquote(location.partition("/")[2])).name
    # The name stays, for readers look at it; two servers may have different files of one name.
    key = hashlib.sha256(source.encode()).hexdigest()[:16]
    return download(source, folder / key / (name.lstrip(".") or "file")).path
