"""Packing texts into requests."""

import sys
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkin.indexer.models.openai_packing import Limits, cut, pack, token_counter, utf8_bytes


@given(st.text(min_size=1, max_size=60), st.integers(4, 30))
def test_windows_lose_nothing_but_white_space(text: str, n_bytes: int) -> None:
    windows = cut(text, n_bytes)
    assert all(len(window.encode()) <= n_bytes for window in windows)
    assert "".join("".join(windows).split()) == "".join(text.split())


def test_words_stay_whole() -> None:
    assert cut("one two three", 8) == ("one two", "three")
    assert cut("one two three", 13) == ("one two three",)
    assert cut("onetwothree", 4) == ("onet", "woth", "ree")


def test_signs_stay_whole() -> None:
    assert cut("αβγδ", 5) == ("αβ", "γδ")


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), max_size=40),
    st.integers(1, 7),
    st.integers(1, 30),
)
def test_requests_hold_every_text_once_within_the_limits(
    lengths: list[list[int]], n_inputs: int, n_tokens: int
) -> None:
    windows = [tuple("x" * n for n in of_text) for of_text in lengths]
    requests = pack(windows, utf8_bytes, Limits(inputs=n_inputs, request_tokens=n_tokens))
    assert [row for request in requests for row in request.rows] == list(range(len(windows)))
    assert [of_text for request in requests for of_text in request.windows] == windows
    for request in requests:
        fits = request.n_inputs <= n_inputs and request.n_tokens <= n_tokens
        assert fits or len(request.rows) == 1
        assert request.n_tokens == sum(len(w) for of_text in request.windows for w in of_text)
    for one, two in pairwise(requests):
        # None could have been spared.
        assert (
            one.n_inputs + len(two.windows[0]) > n_inputs or one.n_tokens + two.tokens[0] > n_tokens
        )


def test_halves_are_the_whole() -> None:
    (request,) = pack([("a",), ("bb", "c"), ("d",)], utf8_bytes, Limits())
    first, second = request.halves()
    assert (first.rows, second.rows) == ((0,), (1, 2))
    assert (first.n_tokens, second.n_tokens, second.n_inputs) == (1, 4, 3)


def test_bytes_bound_tokens() -> None:
    assert utf8_bytes(["gene", "β", ""]) == [4, 2, 0]


def test_tokens_are_counted_where_tiktoken_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(texts: list[str]) -> list[list[str]]:
        return [text.split() for text in texts]

    names: list[str] = []

    def get_encoding(name: str) -> Any:
        names.append(name)
        return SimpleNamespace(encode_ordinary_batch=encode)

    module = ModuleType("tiktoken")
    module.get_encoding = get_encoding  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tiktoken", module)
    assert token_counter()(["a gene", "x"]) == [2, 1]
    assert names == ["cl100k_base"]


def test_bytes_are_counted_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    assert token_counter() is utf8_bytes


def test_bytes_are_counted_where_its_vocabulary_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_encoding(name: str) -> Any:
        raise ConnectionError(name)

    module = ModuleType("tiktoken")
    module.get_encoding = get_encoding  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tiktoken", module)
    assert token_counter() is utf8_bytes
