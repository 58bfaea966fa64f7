"""Read gene sets from tables with a row per set and gene, such as marker genes or regulons."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from cellkin.indexer.genesets.named_sets import NamedSet, lines_of
from cellkin.wire.errors import InputFileError

_WHAT = "gene set table"
_SETS = ("set", "gene_set", "geneset", "term", "pathway", "regulon", "source", "tf", "regulator")
_GENES = ("gene", "target", "symbol", "gene_symbol", "genesymbol", "gene_id", "geneid", "marker")
_WEIGHTS = ("weight", "mor", "sign")
_SIGNS = {"+": 1.0, "-": -1.0}


@dataclass(frozen=True)
class Columns:
    """What to read of a table.

    Parameters
    ----------
    set_column, gene_column
        Names of the columns of sets and genes; empty for the usual ones, such as ``source`` and
        ``target``, or the first two columns of a table without header.
    weight_column
        Name of the column of weights; empty for ``weight``, ``mor`` or ``sign`` if there is one.
    where
        Only rows with these values, by column.
    """

    set_column: str = ""
    gene_column: str = ""
    weight_column: str = ""
    where: Mapping[str, str] = field(default_factory=dict)


def read_table(path: Path, columns: Columns) -> list[NamedSet]:
    """Read the sets of a table, in the order of their first rows.

    Parameters
    ----------
    path
        Tab- or comma-separated text, plain or gzip. Without a header its columns are set, gene and,
        if there is a third, weight.
    columns
        What to read.

    Raises
    ------
    InputFileError
        If the file is missing, damaged or of another format, lacks a column, has no row that
        matches, or gives a gene of a set two weights.
    """
    lines = lines_of(path, _WHAT, commas=True)
    begin, first = next(lines)
    header = _Header.of(path, first, columns)
    found: dict[str, dict[str, float]] = {}
    for number, fields in lines if header.named else chain([(begin, first)], lines):
        if len(fields) != header.width:
            raise InputFileError(
                f"{_WHAT} file {path}: line {number} has {len(fields)} fields, the first line "
                f"{header.width}"
            )
        if any(fields[at] != value for at, value in header.where):
            continue
        name, gene = fields[header.set_], fields[header.gene]
        if not name or not gene:
            raise InputFileError(f"{_WHAT} file {path}: line {number} has no set or no gene")
        weight = 1.0 if header.weight is None else _weight(path, number, fields[header.weight])
        if found.setdefault(name, {}).setdefault(gene, weight) != weight:
            raise InputFileError(
                f"{_WHAT} file {path}: line {number}: gene {gene!r} of set {name!r} has another "
                "weight before; give each gene of a set one row"
            )
    if not found:
        wanted = ", ".join(f"{column} = {value}" for column, value in columns.where.items())
        raise InputFileError(f"{_WHAT} file {path}: no row has {wanted or 'a set and a gene'}")
    return [NamedSet(name, "", weights) for name, weights in found.items()]


@dataclass(frozen=True)
class _Header:
    """Positions of the columns to read."""

    named: bool
    width: int
    set_: int
    gene: int
    weight: int | None
    where: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, path: Path, first: list[str], columns: Columns) -> "_Header":
        names = [name.removeprefix("#") for name in first]
        lower = [name.lower() for name in names]

        def position(given: str, usual: tuple[str, ...]) -> int | None:
            if not given:
                return next((lower.index(name) for name in usual if name in lower), None)
            if given not in names:
                raise InputFileError(
                    f"{_WHAT} file {path} has no column {given!r}; it has {', '.join(names[:20])}"
                )
            return names.index(given)

        set_, gene = position(columns.set_column, _SETS), position(columns.gene_column, _GENES)
        weight = position(columns.weight_column, _WEIGHTS)
        where = tuple((position(name, ()) or 0, value) for name, value in columns.where.items())
        if set_ is not None and gene is not None:
            return cls(True, len(first), set_, gene, weight, where)
        if columns != Columns() or len(first) not in (2, 3):
            raise InputFileError(
                f"{_WHAT} file {path}: which columns are set and gene? Name them with --set-column "
                f"and --gene-column; there is {', '.join(names[:20])}"
            )
        return cls(False, len(first), 0, 1, 2 if len(first) == 3 else None, ())


def _weight(path: Path, number: int, text: str) -> float:
    try:
        weight = _SIGNS[text] if text in _SIGNS else float(text)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight) or weight == 0:
        raise InputFileError(
            f"{_WHAT} file {path}: line {number}: weight {text!r}; expected a number other than 0, "
            "or + or -"
        )
    return weight
