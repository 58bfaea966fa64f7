"""Gene set collections: what is published is read back, what is inconsistent is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cellkin.store.catalog import Kind
from cellkin.store.gene_sets import GeneSets, compare_sets
from cellkin.store.maintenance import damage
from cellkin.store.prune import superseded
from cellkin.store.store import Store
from cellkin.wire.errors import InvalidArgumentError, NotFoundError

SETS = GeneSets(
    ["APOPTOSIS", "EMPTY", "RODS"],
    ["cells die", "", ""],
    np.array([0, 2, 2, 5]),
    np.array([4, 7, 1, 4, 9]),
    np.array([1, 1, 0.5, -1, 1], np.float32),
    [["NOGENE"], [], []],
)


def test_what_is_published_is_read_back(
    tmp_path: Path, make_corpus: Callable[[], pa.Table]
) -> None:
    store = Store.create(str(tmp_path / "s"))
    corpus = store.publish_corpus("genes", make_corpus(), {})
    made_from = {"corpus": corpus.full_name, "corpus_digest": corpus.digest}
    entry = store.publish_gene_sets("hallmark", SETS, {"taxon": 9606, "n_sets": 3, **made_from})
    read = store.gene_sets(entry)
    assert (read.names, read.descriptions) == (SETS.names, SETS.descriptions)
    assert read.unmatched == SETS.unmatched
    for name in ("indptr", "gene_ids", "weights"):
        assert getattr(read, name).tolist() == getattr(SETS, name).tolist()
        assert getattr(read, name).dtype == getattr(SETS, name).dtype
    assert store.catalog.entries(Kind.GENE_SETS) == [entry]
    assert damage(store, entry) == ""
    (needed,) = superseded(store.catalog.view(), Kind.CORPUS, "genes", keep=0, retracted=False)
    assert needed.why_kept == f"kept: gene set collection {entry.full_name} was made from it"
    other = store.publish_gene_sets("hallmark", replace(SETS, descriptions=["", "", ""]), made_from)
    assert (entry.version.rpartition(".")[2], other.version.rpartition(".")[2]) == ("1", "2")
    assert store.gene_sets(entry).descriptions == SETS.descriptions


def test_containing() -> None:
    assert SETS.containing("") == [0, 1, 2]
    assert SETS.containing("DIE apop") == [0]
    assert SETS.containing("die rods") == []
    assert SETS.containing("", 4) == [0, 2]
    assert SETS.containing("rods", 4) == [2]
    assert SETS.containing("", 5) == []


def test_differences() -> None:
    other = replace(SETS, names=["APOPTOSIS", "NEW", "RODS"], weights=np.ones(5, np.float32))
    found = compare_sets(SETS, other)
    assert (found.added, found.removed, found.changed) == (["NEW"], ["EMPTY"], ["RODS"])
    assert found.n_common == 2


def test_members() -> None:
    row = SETS.row("RODS", "hallmark@2026-01-01.1")
    assert SETS.members(row).tolist() == [1, 4, 9]
    assert SETS.member_weights(row).tolist() == [0.5, -1, 1]
    assert SETS.all_gene_ids.tolist() == [1, 4, 7, 9]
    assert SETS.sizes.tolist() == [2, 0, 3]
    with pytest.raises(NotFoundError, match="has no set 'ROD'; similar: RODS; `cellkin genesets"):
        SETS.row("ROD", "hallmark@2026-01-01.1")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"names": ["A", "A", "B"]}, "share one", id="a-name-twice"),
        pytest.param({"names": ["A", "", "B"]}, "have no name", id="no-name"),
        pytest.param({"gene_ids": np.array([4, 4, 1, 4, 9])}, "repeat", id="a-gene-twice"),
        pytest.param({"gene_ids": np.array([7, 4, 1, 4, 9])}, "not ascending", id="unsorted"),
        pytest.param({"weights": np.array([1, 0, 1, 1, 1.0])}, "are zero", id="weight-of-zero"),
        pytest.param({"weights": np.array([1, np.nan, 1, 1, 1])}, "not finite", id="nan"),
    ],
)
def test_what_is_inconsistent_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        replace(SETS, **changed).check()  # type: ignore[arg-type]  # drawn by the test


def test_no_set_is_refused() -> None:
    nothing = np.empty(0, np.int64)
    empty = GeneSets([], [], np.zeros(1, np.int64), nothing, nothing.astype(np.float32), [])
    with pytest.raises(InvalidArgumentError, match="no gene set"):
        empty.check()
