"""Reader of the user's own summaries: GenePT's JSON, or a two-column table."""

import gzip
import json
from pathlib import Path

from cellkin.indexer.genes.tsv import is_gzip, reading
from cellkin.wire.errors import InputFileError

_WHAT = "summaries"


def read_extra_texts(path: Path) -> dict[str, str]:
    """Read one text per gene from a JSON object, or from lines of gene, tab, text.

    Parameters
    ----------
    path
        The file, plain or gzip; JSON if it starts with ``{``. A table has no header line.

    Returns
    -------
    dict[str, str]
        Text by the gene's name in the file; empty texts are left out.

    Raises
    ------
    InputFileError
        If the file is missing, damaged, in neither format, or has no text.
    """
    with reading(path, _WHAT):
        data = gzip.decompress(path.read_bytes()) if is_gzip(path) else path.read_bytes()
        content = data.decode("utf-8-sig")
    texts = _json(path, content) if content.lstrip()[:1] == "{" else _table(path, content)
    kept = {gene.strip(): text.strip() for gene, text in texts.items() if text.strip()}
    if not kept:
        raise InputFileError(f"{_WHAT} file {path}: no gene has a text in it")
    return kept


def _json(path: Path, content: str) -> dict[str, str]:
    try:
        # A dict would hide repeated genes, which are errors as in a table.
        pairs = json.loads(content, object_pairs_hook=list)
    except json.JSONDecodeError as error:
        raise InputFileError(
            f"{_WHAT} file {path}: line {error.lineno} is no JSON: {error.msg}"
        ) from None
    texts: dict[str, str] = {}
    for gene, text in pairs:
        if not isinstance(text, str):
            raise InputFileError(
                f"{_WHAT} file {path}: the value of {gene!r} is no text; "
                "expected an object of gene: text"
            )
        _add(path, texts, gene, text)
    return texts


def _table(path: Path, content: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, line in enumerate(content.split("\n"), start=1):
        fields = line.rstrip("\r").split("\t")
        if fields == [""]:
            continue
        if len(fields) != 2:
            raise InputFileError(
                f"{_WHAT} file {path}: line {number} has {len(fields)} tab-separated "
                f"field{'s' * (len(fields) != 1)}; expected two, gene and text"
            )
        _add(path, texts, *fields)
    return texts


def _add(path: Path, texts: dict[str, str], gene: str, text: str) -> None:
    if texts.setdefault(gene, text) != text:
        raise InputFileError(f"{_WHAT} file {path}: gene {gene!r} has two different texts")
