"""Compare two groups of cells by genes, gene sets and regulators; a stream of cells, one result."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from cellkin.server.blocks import CellReader
from cellkin.server.contrast_labels import compare_labels, require_profiles
from cellkin.server.contrast_result import Comparison, GroupedCells, compare
from cellkin.server.limits import MOST_GENES, MOST_NAMED, check_names, wanted
from cellkin.server.loading import LoadedIndex
from cellkin.server.messages import index_versions, match_message
from cellkin.server.tested_sets import load_sets, require_species
from cellkin.server.version_cache import VersionCache
from cellkin.space.arrays import CsrMatrix, UInt8Vector
from cellkin.v1 import gene_set_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.errors import (
    InvalidArgumentError,
    ResourceExhaustedError,
)
from cellkin.wire.names import parse_version_name

MIN_CELLS = 3
"""Minimum cells of a group."""
_MOST_CELLS = 200_000
_MOST_BYTES = 400_000_000
_PERMUTATIONS, _FEWEST, _MOST = 100, 100, 10_000
_DEFAULT_SETS, _MOST_SETS = 100, 100_000
_LISTED = 20


def contrast(
    version_cache: VersionCache,
) -> Generator[wire.ContrastSubtypesResponse | None, wire.ContrastSubtypesRequest | None, None]:
    """Compare the groups of one stream; see `cellkin.server.methods`.

    Raises
    ------
    InvalidArgumentError
        If messages are out of order, a group is too small, groups overlap, or an option is out of
        range.
    FailedPreconditionError
        If labels are compared and the index has no profiles of them.
    ResourceExhaustedError
        If too many cells are sent.
    """
    first = (yield None) or wire.ContrastSubtypesRequest()
    if first.WhichOneof("payload") != "header":
        raise InvalidArgumentError("the first message is the header", field="payload")
    running = _Running(version_cache, first.header)
    request = yield wire.ContrastSubtypesResponse(report=running.report())
    while request is not None:
        kind = request.WhichOneof("payload")
        if kind == "cells":
            running.add(request.cells)
            request = yield None
        elif kind == "finish":
            request = yield wire.ContrastSubtypesResponse(result=running.result())
            if request is not None:
                raise InvalidArgumentError("nothing follows the finish", field="payload")
        else:
            raise InvalidArgumentError(
                "after the header come cells, and at the end the finish", field="payload"
            )


@dataclass
class _Collected:
    """Cells received so far."""

    blocks: list[CsrMatrix]
    groups: list[UInt8Vector]
    batches: list[str]
    n_cells: int = 0
    n_bytes: int = 0


class _Running:
    """One contrast.

    Parameters
    ----------
    version_cache
        The loaded versions.
    header
        The groups, and what to test.
    """

    def __init__(self, version_cache: VersionCache, header: wire.ContrastHeader) -> None:
        self._loaded = version_cache.index(parse_version_name(header.index, "cell index"))
        check_names(header.genes, MOST_GENES, "header.genes")
        for field in ("a", "b"):
            check_names(getattr(header, field), MOST_NAMED, f"header.{field}")
        n_permutations = header.n_permutations or _PERMUTATIONS
        if not _FEWEST <= n_permutations <= _MOST:
            raise InvalidArgumentError(
                f"n_permutations is {n_permutations}; ask for {_FEWEST} to {_MOST}",
                field="header.n_permutations",
            )
        self._a, self._b = list(header.a), list(header.b)
        self._reader = None
        if header.genes:
            self._reader = CellReader(
                self._loaded, header.genes, header.taxon, int(header.units), "header"
            )
            taxon = self._reader.match.taxon
        else:
            self._a, self._b = _labels(self._loaded, self._a, self._b)
            ids = require_profiles(self._loaded).gene_ids
            names = self._loaded.genes
            (taxon,) = (
                names.table["taxon"].take(np.searchsorted(names.gene_ids, ids[:1])).to_pylist()
            )
        sets = load_sets(version_cache, header.collections, "header.collections")
        regulons = load_sets(version_cache, header.regulons, "header.regulons")
        require_species(sets, taxon, "header.collections")
        require_species(regulons, taxon, "header.regulons")
        self._comparison = Comparison(
            self._loaded,
            None if self._reader is None else self._reader.match,
            taxon,
            sets,
            regulons,
            n_permutations,
            wanted(header.n_genes, MOST_GENES, MOST_GENES, "header.n_genes"),
            wanted(header.n_sets, _DEFAULT_SETS, _MOST_SETS, "header.n_sets"),
        )
        self._collected = _Collected([], [], [])

    def report(self) -> wire.ContrastReport:
        """Return how genes matched, and the groups."""
        return wire.ContrastReport(
            versions=index_versions(self._loaded.entry),
            genes=None if self._reader is None else match_message(self._reader.match),
            a=self._a,
            b=self._b,
        )

    def add(self, block: wire.ContrastCells) -> None:
        """Keep a block of cells until the end."""
        if self._reader is None:
            raise InvalidArgumentError(
                "the header names no genes, so labels of the reference are compared; send the "
                "names of the cells' genes in the header",
                field="header.genes",
            )
        cells = self._reader.read(block.cells)
        groups = codec.decode(block.groups, np.uint8, "cells.groups")
        n, held = cells.shape[0], self._collected
        if len(groups) != n or (groups > 1).any():
            raise InvalidArgumentError(
                f"{len(groups)} groups for {n} cells; give one byte a cell, 0 or 1",
                field="cells.groups",
            )
        if block.batches and len(block.batches) != n:
            raise InvalidArgumentError(
                f"{len(block.batches)} batches for {n} cells; give each cell one, or none at all",
                field="cells.batches",
            )
        held.n_cells += n
        held.n_bytes += cells.data.nbytes + cells.indices.nbytes
        if held.n_cells > _MOST_CELLS or held.n_bytes > _MOST_BYTES:
            raise ResourceExhaustedError(
                f"more than {_MOST_CELLS:,} cells or {_MOST_BYTES // 1_000_000} MB of values; send "
                "a random part of each group, which tells as much about genes of its size",
                {"limit": str(_MOST_CELLS)},
            )
        held.blocks.append(cells)
        held.groups.append(groups)
        held.batches += block.batches or [""] * n

    def result(self) -> wire.ContrastResult:
        """Compare the cells received.

        Raises
        ------
        InvalidArgumentError
            If a group has fewer than `MIN_CELLS` cells.
        """
        if self._reader is None:
            return compare_labels(self._comparison, self._a, self._b, MIN_CELLS)
        held = self._collected
        groups = np.concatenate([np.empty(0, np.uint8), *held.groups])
        for name, number in (("a", 0), ("b", 1)):
            n = int(np.count_nonzero(groups == number))
            if n < MIN_CELLS:
                raise InvalidArgumentError(
                    f"group {name} has {n} cell{'' if n == 1 else 's'}; a contrast needs at least "
                    f"{MIN_CELLS} in each group, and sets of genes many more: check the labels or "
                    "the condition that make the groups",
                    {"group": name, "n_cells": str(n)},
                    field="cells.groups",
                )
        cells = sp.vstack(held.blocks, format="csr") if len(held.blocks) > 1 else held.blocks[0]
        codes = pa.array(held.batches, pa.string()).dictionary_encode()
        # By name, so that codes do not depend on the order of cells.
        names = codes.dictionary.to_numpy(zero_copy_only=False).astype(str)
        ranks = np.where(names == "", -1, np.argsort(np.argsort(names)))
        batches = ranks[codes.indices.to_numpy()].astype(np.int64)
        return compare(self._comparison, GroupedCells(cells, groups == 0, batches))


def _labels(loaded: LoadedIndex, a: Sequence[str], b: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the labels of both groups.

    Raises
    ------
    InvalidArgumentError
        If a group has no label, the reference lacks one, or they overlap.
    """
    names = loaded.index.cells.label_names
    if not a:
        raise InvalidArgumentError("group a has no label; name at least one", field="header.a")
    for field, group in (("header.a", a), ("header.b", b)):
        lost = [label for label in group if label not in names]
        if lost:
            listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
            raise InvalidArgumentError(
                f"the reference has no label {lost[0]!r}; it has {listed}", field=field
            )
    both = [label for label in a if label in b]
    if both:
        raise InvalidArgumentError(
            f"{both[0]!r} is in both groups; give each label to one of them", field="header.b"
        )
    others = list(b) or [name for name in names if name not in a]
    if not others:
        raise InvalidArgumentError(
            "group a has all labels of the reference, so none is left for b", field="header.a"
        )
    return list(dict.fromkeys(a)), list(dict.fromkeys(others))
