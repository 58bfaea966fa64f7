"""Dense text tables (CSV or TSV, gzipped or not), genes by cells or cells by genes."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from cellkin.matrices.anndata_tree import HeldRanges
from cellkin.matrices.features import n_like_genes
from cellkin.matrices.hdf5 import require_no_choice
from cellkin.matrices.matrix import CompressedMatrix, Storage
from cellkin.matrices.options import ReadOptions
from cellkin.matrices.table import Opened, is_ensembl, name_table
from cellkin.matrices.text import text_lines
from cellkin.wire.errors import InputFileError

_ENDINGS = (".csv", ".tsv", ".tab", ".txt")
_SEPARATORS = "\t,; "
# Limit for a sparse matrix that is copied when transposed: about 3 GB.
_MAX_VALUES = 200_000_000
# The top left field, above the row names, may say what the rows are.
_GENE_WORDS = re.compile(r"(gene|feature|symbol|hgnc|ensembl).*", re.IGNORECASE)
_CELL_WORDS = re.compile(r"(cell|barcode|bc_wells|sample).*", re.IGNORECASE)
# Genes found in almost every matrix, in any case.
_COMMON = re.compile(
    r"mt[-.](nd[1-6]l?|co[123]|atp[68]|cytb?|cyb)|rp[ls](\d+[a-z]*\d*|[ap]\d*)|actb|actg1|gapdh|b2m"
    r"|malat1|eef1a1|tmsb4x|ftl1?|fth1|ubb|ubc|vim|cd74|ptprc"
)
_N_COMMON = 3
_BARCODE = re.compile(r"(.*[^A-Za-z])?[ACGT]{8,}([^A-Za-z].*)?")
# Cell names often differ only in their numbers; gene names do not.
_MANY = 0.5
# Per-cell columns that other tools write beside the genes.
_MEASURES = re.compile(
    r"n_?(count|feature|gene|umi)s?(_.*)?|total_(counts|features).*|log1p_(total|n_genes).*"
    r"|(pct|percent)[_.](counts|mt|mito|ribo|rb|hb).*|(umap|tsne|pca?)[-_]?\d+"
    r"|(louvain|leiden|seurat_clusters)([-_.].*)?|fov|cell_?id",
    re.IGNORECASE,
)
# Per-gene columns beside the counts; featureCounts writes Chr, Start, End, Strand and Length.
_OF_GENES = re.compile(
    r"chr(omosome)?|start|end|strand|length|gc([-_. ]content)?"
    r"|(gene|transcript)[-_. ]?(length|name|symbol|(bio)?type)",
    re.IGNORECASE,
)
_COMMA = re.compile(r"[-+]?\d+,\d+(e[-+]?\d+)?", re.IGNORECASE)
_N_SHOWN = 10


@dataclass(frozen=True)
class _Text:
    """A table as written in the file; `left_out` names columns that were not read."""

    corner: str
    columns: list[str]
    rows: list[str]
    values: sp.csr_matrix
    left_out: list[str]


def is_delimited(path: Path) -> bool:
    """Return whether a file is a text table, by its name."""
    return path.name.lower().removesuffix(".gz").endswith(_ENDINGS)


def open_delimited(path: Path, how: ReadOptions) -> Opened:
    """Read a table with gene names on one side and cell names on the other.

    Parameters
    ----------
    path
        The file; its first line names the columns, the first field of each other line the row.
    how
        Must not ask for a layer, raw or a modality.

    Raises
    ------
    InputFileError
        If a column is not numeric, or it is unclear which side has the genes.
    """
    require_no_choice(path, "a table of text", how)
    table = _read(path)
    notes = ["the table is text and was loaded whole; .h5ad and zarr are read in blocks"]
    genes_first = _rows_are_genes(path, table)
    measures = _OF_GENES if genes_first else _MEASURES
    kept = [at for at, name in enumerate(table.columns) if not measures.fullmatch(name)]
    columns, x = [table.columns[at] for at in kept], table.values
    left_out = table.left_out + [name for name in table.columns if measures.fullmatch(name)]
    if len(kept) < len(table.columns):
        x = x[:, kept]
    if left_out:
        what = "cells" if genes_first else "genes"
        notes.append(f"left out {len(left_out)} columns that are no {what}: {_some(left_out)}")
    genes, cells = (table.rows, columns) if genes_first else (columns, table.rows)
    x = sp.csr_matrix(x.T) if genes_first else x
    form = "genes by cells" if genes_first else "cells by genes"
    storage = Storage(path, f"text, {form}", slow=True, in_memory=True, notes=notes)
    matrix = CompressedMatrix(
        storage, x.shape[1], x.indptr, HeldRanges(x.indices), HeldRanges(x.data)
    )
    return Opened(matrix, lambda: name_table(cells), lambda: name_table(genes))


def _read(path: Path) -> _Text:
    lines = _lines(path)
    header = next(lines, "")
    separator = next((sign for sign in _SEPARATORS if sign in header), "")
    first = next(lines, "")
    if not separator or not first:
        raise InputFileError(
            f"{path} is no table: a line that names the columns and a line a row are needed, with "
            "tabs or commas between"
        )
    named = _fields(header, separator)
    n_fields = len(_fields(first, separator))
    # R's write.table writes no field above the row names.
    corner, columns = ("", named) if len(named) == n_fields - 1 else (named[0], named[1:])
    # Cell names may be numbers, but distinct ones; repeated numbers are values.
    if len(set(columns)) < len(columns) and all(map(_is_number, columns)):
        raise InputFileError(
            f"{path} has no line that names the columns: the first, {_some(named, 4)}, has "
            "repeated numbers; write one above it"
        )
    n_columns, of_genes = len(columns), _GENE_WORDS.fullmatch(corner)
    # Columns that describe genes may be text, such as chromosomes, and are not parsed.
    left_out = [name for name in columns if of_genes and _OF_GENES.fullmatch(name)]
    kept = [at for at, name in enumerate(columns) if name not in left_out]
    columns = [columns[at] for at in kept]
    names: list[str] = []
    values: list[npt.NDArray[np.float32]] = []
    places: list[npt.NDArray[np.int32]] = []
    ends = [0]
    for number, line in enumerate(chain([first], lines), 1):
        name, rest = _split(line, separator)
        if len(rest) != n_columns:
            raise InputFileError(
                f"{path}: row {number}, {name!r}, has {len(rest)} values, but {n_columns} "
                "columns are named"
            )
        read = [rest[at] for at in kept] if left_out else rest
        try:
            row = np.array(read, np.float32)
        except ValueError:
            raise _no_numbers(path, name, columns, read) from None
        at = np.flatnonzero(row).astype(np.int32)
        names.append(name)
        places.append(at)
        values.append(row[at])
        ends.append(ends[-1] + len(at))
        if ends[-1] > _MAX_VALUES:
            raise InputFileError(
                f"{path} has more than {_MAX_VALUES} values that are not 0, which are not held in "
                "memory; write it once as .h5ad or zarr"
            )
    x = sp.csr_matrix(
        (np.concatenate(values), np.concatenate(places), np.array(ends, np.int64)),
        shape=(len(names), len(columns)),
    )
    return _Text(corner, columns, names, x, left_out)


def _lines(path: Path) -> Iterator[str]:
    """Yield non-empty lines, without the comments before the table."""
    within = False
    for line in text_lines(path):
        if line.strip() and (within or not line.startswith("#")):
            within = True
            yield line


def _fields(line: str, separator: str) -> list[str]:
    return [field.strip() for field in next(csv.reader([line], delimiter=separator))]


def _split(line: str, separator: str) -> tuple[str, list[str]]:
    """Return the name of a row and its values."""
    if '"' in line:
        name, *rest = _fields(line, separator)
        return name, rest
    name, _, values = line.partition(separator)
    return name.strip(), values.split(separator) if values else []


def _no_numbers(
    path: Path, row: str, columns: Sequence[str], values: Sequence[str]
) -> InputFileError:
    """Return the error for a row with non-numeric values."""
    found = {
        column: value
        for column, value in zip(columns, values, strict=True)
        if not _is_number(value)
    }
    what = ", ".join(f"{column!r} ({value!r})" for column, value in list(found.items())[:_N_SHOWN])
    if found and all(_COMMA.fullmatch(value.strip()) for value in found.values()):
        return InputFileError(
            f"{path}: numbers of the row {row!r} are written with commas "
            f"({_some([*found.values()], 3)}); write decimals with a point, and thousands without "
            "a sign"
        )
    return InputFileError(
        f"{path}: the columns {what} of the row {row!r} have no numbers; leave out columns that "
        "are not expression, and write 0 where nothing was counted"
    )


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _rows_are_genes(path: Path, table: _Text) -> bool:
    """Return whether rows are genes: by the top left field, known names, or the names' form."""
    if _GENE_WORDS.fullmatch(table.corner):
        return True
    if _CELL_WORDS.fullmatch(table.corner):
        return False
    for plainly in (_surely_genes, _maybe_genes):
        rows, columns = plainly(table.rows), plainly(table.columns)
        if rows != columns:
            return rows
    raise InputFileError(
        f"{path}: neither the rows ({_some(table.rows, 3)}) nor the columns "
        f"({_some(table.columns, 3)}) are plainly genes; write 'gene' or 'cell' as the first field "
        "of the first line, to say what the rows are"
    )


def _surely_genes(names: Sequence[str]) -> bool:
    if sum(map(is_ensembl, names)) > len(names) / 2:
        return True
    return len({name for name in map(str.lower, names) if _COMMON.fullmatch(name)}) >= _N_COMMON


def _maybe_genes(names: Sequence[str]) -> bool:
    if sum(1 for name in names if _BARCODE.fullmatch(name)) > len(names) / 2:
        return False
    kinds = len({re.sub(r"\d+", "", name) for name in names}) / max(1, len(names))
    return kinds >= _MANY and n_like_genes(names) >= _MANY * len(names)


def _some(names: Sequence[str], n: int = _N_SHOWN) -> str:
    return ", ".join(names[:n]) + (", ..." if len(names) > n else "")
