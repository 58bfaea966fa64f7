"""What changed between two versions."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cellkin.store.compare import compare
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.errors import DimensionMismatchError


def embedding(ids: list[int], texts: list[str], angles: list[float]) -> GeneEmbedding:
    vectors = np.array([[np.cos(a), np.sin(a)] for a in angles], np.float32)
    return GeneEmbedding(np.array(ids), np.full(len(ids), 9606, np.int32), texts, vectors)


def test_embeddings(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "s"))
    first = store.publish_embedding("m", embedding([1, 2, 3], ["a", "b", "c"], [0, 1, 2]), {})
    second = store.publish_embedding(
        "m", embedding([2, 3, 4], ["b", "x", "d"], [1, 2 + np.pi / 3, 0]), {}
    )
    found = compare(store, first, second)
    assert found.added.tolist() == [4]
    assert found.removed.tolist() == [1]
    assert found.text_changed.tolist() == [3]
    assert found.moved.tolist() == [3]
    np.testing.assert_allclose(found.distances, [0.5], atol=1e-6)
    assert found.n_common == 2
    same = compare(store, first, first)
    assert (len(same.added), len(same.removed), len(same.moved), same.n_common) == (0, 0, 0, 3)


def test_corpora(tmp_path: Path, make_corpus: Callable[[], pa.Table]) -> None:
    store = Store.create(str(tmp_path / "s"))
    table = make_corpus()
    rows = table.to_pylist()
    rows[4] |= {"text": "new", "text_sha256": "new"}
    first = store.publish_corpus("genes", table, {})
    second = store.publish_corpus("genes", pa.Table.from_pylist(rows[1:], schema=table.schema), {})
    found = compare(store, first, second)
    assert (found.removed.tolist(), found.text_changed.tolist()) == ([1], [5])
    assert len(found.moved) == 0


def test_vectors_of_different_widths_are_not_compared(tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "s"))
    first = store.publish_embedding("m", embedding([1], ["a"], [0]), {})
    wide = GeneEmbedding(
        np.array([1]), np.array([9606], np.int32), ["a"], np.eye(1, 3, dtype=np.float32)
    )
    with pytest.raises(DimensionMismatchError, match=r"has 2 dimensions, m@.* 3: compare versions"):
        compare(store, first, store.publish_embedding("m", wide, {}))
