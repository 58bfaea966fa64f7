"""Which gene vectors are a control."""

from typing import Any

import pytest

from cellkin.store.catalog import CatalogView, Entry, Kind
from cellkin.store.controls import is_control, of_control

RANDOM = {"settings": {"model": "random:384:1"}}


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ({"control": True}, True),
        ({"control": False} | RANDOM, False),
        (RANDOM, True),
        ({"settings": {"model": "permuted", "embedding": "m@1", "embedding_digest": "ab"}}, True),
        ({"settings": {"model": "symbol-only-m", "text": "symbol"}}, True),
        ({"settings": {"model": "all-minilm-l6-v2", "revision": "1"}}, False),
        ({"settings": {"model": "permuted", "file": "permuted.npz"}}, False),
        ({"settings": {"model": "random-384-1", "file": "random.npz"}}, False),
        ({}, False),
    ],
)
def test_controls_are_known_with_and_without_a_mark(
    manifest: dict[str, Any], expected: bool
) -> None:
    assert is_control(manifest) is expected


def entry(kind: Kind, name: str, manifest: dict[str, Any]) -> Entry:
    return Entry(kind, name, "2026-01-02.1", "2026-01-02T00:00:00+00:00", "ab", manifest)


def test_an_index_is_of_a_control_by_its_mark_or_by_its_embedding() -> None:
    view = CatalogView(
        [
            entry(Kind.EMBEDDING, "random-384-1", RANDOM),
            entry(Kind.EMBEDDING, "model", {"settings": {"model": "model"}}),
        ],
        {},
        {},
    )

    def found(**manifest: object) -> bool:
        return of_control(view, entry(Kind.INDEX, "cells", manifest))

    assert found(control_embedding=True)
    assert not found(control_embedding=False, embedding="random-384-1@2026-01-02.1")
    assert found(embedding="random-384-1@2026-01-02.1")
    assert not found(embedding="model@2026-01-02.1")
    assert not found(embedding="gone@2026-01-02.1")
