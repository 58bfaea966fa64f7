"""Packing texts into requests."""

import sys
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellkin.indexer.models.openai_packing import (
    Limits,
    Request,
    halves,
    n_inputs,
    pack,
    split_text,
    token_counter,
    utf8_bytes,
)


@given(st.text(min_size=1, max_size=60), st.integers(4, 30))
def test_windows_lose_nothing_but_white_space(text: str, n_bytes: int) -> None:
    windows = split_text(text, n_bytes)
    assert all(len(window.encode()) <= n_bytes for window in windows)
    assert "".join("".join(windows).split()) == "".join(text.split())


def test_words_stay_whole() -> None:
    assert split_text("one two three", 8) == ("one two", "three")
    assert split_text("one two three", 13) == ("one two three",)
    assert split_text("onetwothree", 4) == ("onet", "woth", "ree")


def test_characters_stay_whole() -> None:
    assert split_text("αβγδ", 5) == ("αβ", "γδ")


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 7), st.integers(1, 30))
def test_requests_hold_every_text_once_within_the_limits(
    lengths: list[int], max_inputs: int, max_tokens: int
) -> None:
    texts = ["x" * n for n in lengths]
    limits = Limits(max_inputs, input_tokens=9, request_tokens=max_tokens)
    requests = pack(texts, utf8_bytes, limits)
    packed = [text for request in requests for text in request]
    assert [text.row for text in packed] == list(range(len(texts)))
    assert ["".join(text.windows) for text in packed] == texts
    assert [text.n_tokens for text in packed] == lengths

    def fits(request: Request) -> bool:
        n_tokens = sum(text.n_tokens for text in request)
        return n_inputs(request) <= max_inputs and n_tokens <= max_tokens

    assert all(fits(request) or len(request) == 1 for request in requests)
    # No request could have taken the first text of the next one too.
    assert not any(fits([*one, two[0]]) for one, two in pairwise(requests))


def test_halves_are_the_whole() -> None:
    (request,) = pack(["a", "bb c", "d"], utf8_bytes, Limits())
    first, second = halves(request)
    assert [*first, *second] == request
    assert (len(first), len(second)) == (1, 2)


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
