"""Strings by row, as Arrow has them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.store.strings import Strings

TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=12)


@settings(deadline=None)
@given(TEXTS, st.sampled_from([pa.string(), pa.large_string()]), st.integers(1, 4), st.data())
def test_they_are_those_of_the_column(
    texts: list[str], kind: pa.DataType, n_chunks: int, data: st.DataObject
) -> None:
    rows_of = np.array_split(np.arange(len(texts)), n_chunks)
    parts = [pa.array([texts[i] for i in part], kind) for part in rows_of]
    strings = Strings(pa.chunked_array(parts, kind))
    assert len(strings) == len(texts)
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=20))
    assert strings.at(np.array(rows, np.int64)) == [texts[row] for row in rows]


@pytest.mark.parametrize("n", [0, 1, 256, 257, 1000])
def test_few_and_many_are_the_same(n: int) -> None:
    texts = [f"cell-{i}" * (i % 3) for i in range(500)]
    strings = Strings(pa.chunked_array([pa.array(texts).slice(100)]))
    rows = np.random.default_rng(0).integers(0, 400, n)
    assert strings.at(rows) == [texts[100 + row] for row in rows]


def test_a_column_of_nothing() -> None:
    assert Strings(pa.chunked_array([], pa.string())).at(np.empty(0, np.int64)) == []
