"""Reader of the protein function texts that STRING publishes."""

import re
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cellkin.indexer.genes.tsv import keep_taxa, stream_tsv
from cellkin.wire.errors import InputFileError

_WHAT = "STRING protein.info"
_VERSION = re.compile(r"\.(v\d+(?:\.\d+)*)\.")
_ANNOTATION = r"^.*?; (?P<function>.+)$"
_NOT_AVAILABLE = r"(?i)^\s*annotation not available\b"
_SPECIES_OF = {559292: 4932}
"""STRING's taxon by NCBI Gene's: for yeast, NCBI Gene has a strain, STRING the species."""
_CUT_MARK = r"\s*\[\.\.\.\]\s*$"

PROTEIN_INFO = pa.schema(
    [
        pa.field("taxon", pa.int32()),
        pa.field("protein_id", pa.string()),  # of Ensembl, without the taxon prefix
        pa.field("preferred_name", pa.string()),
        pa.field("function", pa.string()),  # never empty
    ]
)
"""Schema of `read_protein_info`."""


def string_release(path: Path) -> str:
    """Return the release of a file: "STRING v12.0", or "STRING" if its name has none.

    Parameters
    ----------
    path
        A file with STRING's name, such as ``9606.protein.info.v12.0.txt.gz``.
    """
    found = _VERSION.search(path.name)
    return f"STRING {found[1]}" if found else "STRING"


def string_taxon(taxon: int) -> int:
    """Return STRING's taxonomy id of a species of NCBI Gene."""
    return _SPECIES_OF.get(taxon, taxon)


def read_protein_info(path: Path, taxa: Collection[int] | None = None) -> pa.Table:
    """Read the function texts of proteins from STRING's ``protein.info``.

    An annotation has the form ``Protein name; function text``. Proteins without a function text
    are left out; the mark ``[...]`` at the end of truncated texts is removed.

    Parameters
    ----------
    path
        The file of one or all species, plain or gzip.
    taxa
        Requested taxonomy ids, as in NCBI Gene; None means all of the file.

    Returns
    -------
    pyarrow.Table
        Of schema `PROTEIN_INFO`, in file order, with taxa of NCBI Gene.

    Raises
    ------
    InputFileError
        If the file is missing, damaged or of another format.
    """
    columns = {
        "string_protein_id": pa.string(),
        "preferred_name": pa.string(),
        "annotation": pa.string(),
    }
    batches = []
    for batch in stream_tsv(path, _WHAT, columns):
        ids = pc.extract_regex(batch["string_protein_id"], r"^(?P<taxon>\d{1,9})\.(?P<protein>.+)$")
        if ids.null_count:
            wrong = batch["string_protein_id"].filter(pc.is_null(ids))[0]
            raise InputFileError(
                f"{_WHAT} file {path}: protein id {wrong} does not begin with a taxon; "
                "expected one such as 9606.ENSP00000000233"
            )
        form = pc.extract_regex(batch["annotation"], _ANNOTATION)
        function = pc.replace_substring_regex(pc.struct_field(form, "function"), _CUT_MARK, "")
        rows = pa.record_batch(
            [
                pc.cast(pc.struct_field(ids, "taxon"), pa.int32()),
                pc.struct_field(ids, "protein"),
                pc.fill_null(batch["preferred_name"], ""),
                pc.utf8_trim_whitespace(function),
            ],
            schema=PROTEIN_INFO,
        )
        has_text = pc.and_(
            pc.greater(pc.utf8_length(rows["function"]), 0),
            pc.invert(pc.match_substring_regex(batch["annotation"], _NOT_AVAILABLE)),
        )
        batches.append(keep_taxa(_of_ncbi(rows.filter(has_text)), taxa, "taxon"))
    return pa.Table.from_batches(batches, PROTEIN_INFO)


def _of_ncbi(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Replace STRING's taxonomy ids by those of NCBI Gene."""
    taxa = rows["taxon"]
    for ncbi, string in _SPECIES_OF.items():
        taxa = pc.if_else(pc.equal(taxa, string), pa.scalar(ncbi, pa.int32()), taxa)
    return rows.set_column(0, PROTEIN_INFO.field("taxon"), taxa)
