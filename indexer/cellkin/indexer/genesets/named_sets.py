"""Gene sets as their sources name them, before gene names are matched."""

import csv
import gzip
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from cellkin.indexer.genes.tsv import is_gzip, reading
from cellkin.wire.errors import InputFileError


@dataclass(frozen=True)
class NamedSet:
    """A gene set of a source.

    Parameters
    ----------
    name, description
        As in the source.
    weights
        Weight by gene name: 1 without weights.
    """

    name: str
    description: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)


def lines_of(path: Path, what: str, commas: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and fields of each line that is not empty.

    Parameters
    ----------
    path
        A text file, plain or gzip, whose fields are separated by tabs.
    what
        Expected kind of file for error messages, such as "GMT".
    commas
        Whether fields are separated by commas if the first line has no tab.

    Raises
    ------
    InputFileError
        If the file is missing, damaged, empty, or not UTF-8.
    """
    with reading(path, what), _opened(path) as file:
        first = file.readline()
        if not first.strip():
            raise InputFileError(f"{what} file {path}: the first line is empty")
        file.seek(0)
        rows: Iterator[list[str]] = (line.split("\t") for line in file)
        if commas and "\t" not in first:
            rows = csv.reader(file)
        for number, row in enumerate(rows, 1):
            if any(fields := [each.strip() for each in row]):
                yield number, fields


def _opened(path: Path) -> TextIO:
    if is_gzip(path):
        return io.TextIOWrapper(gzip.open(path), "utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def read_gmt(path: Path) -> list[NamedSet]:
    """Read a GMT file: a set per line, with name, description and genes.

    Parameters
    ----------
    path
        The file, plain or gzip.

    Raises
    ------
    InputFileError
        If the file is missing, damaged or of another format, or a name is there twice.
    """
    sets: dict[str, NamedSet] = {}
    for number, fields in lines_of(path, "GMT"):
        if len(fields) < 3 or not fields[0]:
            raise InputFileError(
                f"GMT file {path}: line {number} has {len(fields)} tab-separated fields; expected "
                "the name of a set, a description, and its genes"
            )
        name, description, *genes = fields
        if name in sets:
            raise InputFileError(
                f"GMT file {path}: line {number}: set {name!r} is there already; give each set one "
                "line"
            )
        sets[name] = NamedSet(name, description, dict.fromkeys(filter(None, genes), 1.0))
    return list(sets.values())
