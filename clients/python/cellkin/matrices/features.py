"""Select the columns of a matrix that are genes, and their names, for all formats."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cellkin.matrices.options import ReadOptions
from cellkin.matrices.table import Opened, Table, is_ensembl, texts
from cellkin.wire.errors import CellkinError, GenesUnmatchedError, InputFileError, NotFoundError
from cellkin.wire.features import NonGene, gene_like, non_genes

# Columns of var that may hold the kind of a feature, in any case: of Cell Ranger and scanpy, muon,
# DropletUtils, CELLxGENE. The first with a known kind is used.
_KIND_COLUMNS = ("feature_types", "feature_type", "modality", "type", "feature_biotype")
_EXPRESSION = frozenset(
    ["gene expression", "gex", "rna", "mrna", "transcriptome", "transcript", "transcripts"]
)
_GENE = frozenset(["gene", "genes"])
_OTHER = re.compile(
    r"""
    antibod(y|ies) (\ .*)? | abs? (\ capture)? | ab\ ?seq | adts? | cite (\ ?seq)?
  | (surface\ )? prot(eins?)? (\ (capture | expression | panel | tags?))?
  | htos? | hashtags? (\ .*)? | cell\ hashing
  | multiplexing (\ .*)? | antigens? (\ .*)? | custom
  | peaks? | atac (\ .*)? | chromatin (\ .*)?
  | crispr (\ .*)? | s?grnas? | guides? (\ .*)?
  | vdj (\ .*)? | tcr | bcr
  | ((negative | positive | genomic | system)\ )? controls? (\ .*)?
  | (blank | unassigned | deprecated | negative)\ (codewords? | probes?) (\ .*)?
  | spike\ ?ins? | ercc (\ .*)? | morphology | methylation | metabolites? | lipids? | motifs?
    """,
    re.VERBOSE,
)
# Missing names are kept, and match nothing: a species may have a gene of that name.
_LEFT_OUT = (NonGene.REGION, NonGene.CONTROL, NonGene.ANTIBODY)
_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-._/@:()+][A-Za-z0-9]+)*")
_BARCODE = re.compile(r"[ACGTN]{8,}(?:[-_.].*)?")
_MAX_SYMBOL, _N_SHOWN = 25, 3
# A hint names a column if at least this share of its values look like gene names.
_ENOUGH = 0.5
_N_LOOKED_AT = 1000


@dataclass(frozen=True)
class Genes:
    """The columns of a matrix that are genes.

    Parameters
    ----------
    names
        Their names.
    var
        Their annotation.
    kept
        (n_genes,) int64, their stored indices, ascending; None if all columns are read.
    notes
        Sentences for the user on columns left out.
    hint
        Returns a sentence on columns of ``var`` that may hold better names, or ''.
    """

    names: list[str]
    var: Table
    kept: npt.NDArray[np.int64] | None
    notes: list[str]
    hint: Callable[[], str]


@dataclass(frozen=True)
class ColumnsRead:
    """The columns of a matrix that were read.

    Parameters
    ----------
    n_stored
        Number of columns stored.
    kept
        (n_genes,) int64, the stored indices of those read, ascending; None for all.
    """

    n_stored: int
    kept: npt.NDArray[np.int64] | None = None

    def spread(self, values: npt.NDArray[Any], missing: Any) -> npt.NDArray[Any]:
        """Expand values to all stored columns.

        Parameters
        ----------
        values
            (n_genes,) one per column read.
        missing
            The value of the other columns.

        Returns
        -------
        NDArray
            (n_stored,) of the same dtype.
        """
        if self.kept is None:
            return values
        spread = np.full(self.n_stored, missing, values.dtype)
        spread[self.kept] = values
        return spread


@contextmanager
def hinting(hint: Callable[[], str]) -> Iterator[None]:
    """Add a hint to errors about gene names that do not match, or are row numbers.

    Parameters
    ----------
    hint
        See `Genes`.
    """
    try:
        yield
    except CellkinError as error:
        of_names = isinstance(error, GenesUnmatchedError) or "first_name" in error.metadata
        if of_names and (said := hint()):
            error.message = f"{error.message}. {said}"
            error.args = (error.message,)
        raise


def read_genes(opened: Opened, how: ReadOptions, where: Path) -> Genes:
    """Find the columns of an open file that are genes, and restrict its matrix to them.

    Parameters
    ----------
    opened
        The file; its matrix must not be restricted yet.
    how
        Selects the column of ``var`` with the names.
    where
        The file's name in errors.

    Raises
    ------
    InputFileError
        If no column is a gene, or the number of columns and names differ.
    NotFoundError
        If there is no such column of ``var``; the message lists the columns.
    """
    var, matrix = opened.read_var(), opened.matrix
    names = var.names() if how.gene_column is None else _named_by(var, how.gene_column, where)
    if len(names) != matrix.n_stored:
        raise InputFileError(
            f"{where}: the matrix has {matrix.n_stored} genes, but {len(names)} are named"
        )
    genes = np.ones(len(names), bool)
    notes = _leave_out_kinds(genes, var, where)
    notes += _leave_out_names(genes, names)
    if len(names) and not genes.any():
        raise InputFileError(
            f"{where} has no genes: {'; '.join(notes)}. Give a file of gene expression"
        )
    kept = None if genes.all() else np.flatnonzero(genes)
    if kept is not None:
        names = [names[at] for at in kept]
        var = replace(var, kept=kept)
        matrix.keep(kept)

    def hint() -> str:
        return name_hint(var, names)

    some = names[:: max(1, len(names) // _N_LOOKED_AT)]
    if n_like_genes(some) < _ENOUGH * len(some) and (said := hint()):
        notes.append(f"most gene names do not look like genes. {said}")
    return Genes(names, var, kept, notes, hint)


def name_hint(var: Table, names: Sequence[str]) -> str:
    """Return advice on columns of ``var`` whose values look like gene names.

    Parameters
    ----------
    var
        The annotation of the genes.
    names
        The present names; a column with the same values is not named.

    Returns
    -------
    str
        A sentence; empty if there is no such column.
    """
    counts = {}
    for column in var.columns:
        values = pd.Series(var.column(column))
        # Numbers and booleans are not names.
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(values.cat.categories.dtype)
        if pd.api.types.is_numeric_dtype(values.dtype):
            continue
        found = _texts(values)
        n = n_like_genes(found)
        if n and n >= _ENOUGH * len(found) and found != list(names):
            counts[column] = n
    best = sorted(counts, key=lambda name: -counts[name])[:_N_SHOWN]
    if not best:
        return ""
    each = ", ".join(f"{name!r} ({counts[name]:,} names)" for name in best)
    columns = "column" if len(best) == 1 else "columns"
    return (
        f"The names in the var {columns} {each} look like genes: try gene_column={best[0]!r} "
        f"(--gene-column {best[0]})"
    )


def n_like_genes(names: Sequence[str]) -> int:
    """Count the distinct names that look like Ensembl ids or gene symbols of any species."""
    distinct = list(dict.fromkeys(names))
    return sum(
        is_ensembl(name)
        or (
            len(name) <= _MAX_SYMBOL
            and _SYMBOL.fullmatch(name) is not None
            and not _BARCODE.fullmatch(name)
        )
        for name, like in zip(distinct, gene_like(distinct), strict=True)
        if like
    )


def _named_by(var: Table, column: str, where: Path) -> list[str]:
    """Return the names in a column, '' if missing."""
    if column == var.index_name and column not in var.columns:
        return var.names()
    if column not in var.columns:
        raise NotFoundError(
            f"{where} has no var column {column!r} for the gene names; it has: "
            + (", ".join(var.columns) or "none")
        )
    return _texts(var.column(column))


def _texts(column: Any) -> list[str]:
    """Return the values of a column as strings, '' if missing."""
    values = pd.Series(column).astype(object)
    return texts(values.where(values.notna(), "").to_numpy())


def _leave_out_kinds(genes: npt.NDArray[np.bool_], var: Table, where: Path) -> list[str]:
    """Leave out features that ``var`` marks as other than genes, and return notes."""
    # Also written Feature Type, feature.types, featureType.
    columns = {_letters(name): name for name in reversed(var.columns)}
    for known in map(_letters, _KIND_COLUMNS):
        if known not in columns:
            continue
        kinds = _texts(var.column(columns[known]))
        others = _others(set(kinds))
        if others is None:
            continue
        genes &= np.fromiter((kind not in others for kind in kinds), bool, len(kinds))
        counts = Counter(kind for kind in kinds if kind in others)
        named = ", ".join(sorted({_bare(kind) for kind in counts}))
        if kinds and not genes.any():
            raise InputFileError(
                f"{where} has no Gene Expression features, only {named}; if these are genes, "
                f"say so in the column {columns[known]!r} of var"
            )
        if not counts:
            return []
        return [f"left out {counts.total()} features that are not genes: {named}"]
    return []


def is_no_expression(kind: str) -> bool:
    """Return whether a kind of feature is not gene expression, such as ``prot``."""
    return _OTHER.fullmatch(_plain(kind)) is not None


def _others(kinds: set[str]) -> set[str] | None:
    """Return the kinds of features that are not genes; None if no kind is known."""
    plain = {kind: _plain(kind) for kind in kinds}
    other = set(filter(is_no_expression, kinds))
    if any(plain[kind] in _EXPRESSION for kind in kinds):
        # If gene expression is named, other kinds are not genes; missing kinds are kept.
        genes = {"", *_EXPRESSION, *_GENE}
        return {kind for kind in kinds if plain[kind] not in genes}
    return other or ({*()} if any(plain[kind] in _GENE for kind in kinds) else None)


def _plain(kind: str) -> str:
    return re.sub(r"[-_ ]+", " ", _bare(kind).lower())


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _bare(kind: str) -> str:
    return kind.strip().strip("\"'").strip()


def _leave_out_names(genes: npt.NDArray[np.bool_], names: Sequence[str]) -> list[str]:
    """Leave out features whose names are not genes' names, and return notes."""
    found: dict[NonGene, list[str]] = {}
    for at, kind in non_genes(names).items():
        if kind in _LEFT_OUT and genes[at]:
            found.setdefault(kind, []).append(names[at])
            genes[at] = False
    if not found:
        return []
    said = [
        f"{len(left)} {kind.value} ({', '.join(left[:_N_SHOWN])}"
        f"{', ...' if len(left) > _N_SHOWN else ''})"
        for kind, left in sorted(found.items())
    ]
    total = sum(map(len, found.values()))
    return [f"left out {total} features that are not genes by their names: {', '.join(said)}"]
