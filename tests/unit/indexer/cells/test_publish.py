"""Connections of neighbor indexes are closed, whatever fails."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from cellkin.indexer.cells import publish
from cellkin.indexer.cells.publish import IndexChoice, extend_index, publish_index
from cellkin.indexer.commands import indexes as commands
from cellkin.store import cell_index, cell_vectors
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.schema import INDEX_FORMAT
from cellkin.wire.errors import UnavailableError


class Opened(NeighborIndex):
    """An index that notes whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


SPACES: Any = SimpleNamespace(names=["text", "expression"], searched=lambda cells: [(0, b"")] * 2)
CELLS: Any = SimpleNamespace(digest="", column=lambda name: 1 / 0)
BASE: Any = SimpleNamespace(name="a", manifest={"n_cells": 1})
STORE: Any = SimpleNamespace(index_folder=lambda entry: None)


def stages(what: str) -> Any:
    return nullcontext(lambda done, total: None)


def failing_second(made: list[Opened]) -> Any:
    def make(*rest: Any) -> Any:
        if made:
            raise UnavailableError("away")
        made.append(Opened())
        return SimpleNamespace(index=made[0], certificate=None)

    return make


def test_what_was_built_is_closed_if_the_next_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Opened] = []
    monkeypatch.setattr(publish, "build_neighbors", failing_second(made))
    with pytest.raises(UnavailableError):
        publish_index(STORE, "a", CELLS, SPACES, IndexChoice(), {}, stages)
    assert [index.closed for index in made] == [True]


def test_what_was_built_is_closed_if_it_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Opened] = []

    def build(*rest: Any) -> Any:
        made.append(Opened())
        return SimpleNamespace(index=made[-1], certificate=None)

    monkeypatch.setattr(publish, "build_neighbors", build)
    with pytest.raises(ZeroDivisionError):
        publish_index(STORE, "a", CELLS, SPACES, IndexChoice(), {}, stages)
    assert [index.closed for index in made] == [True, True]


def test_the_indexes_of_a_base_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    old = [Opened(), Opened()]
    made: list[Opened] = []
    taken = iter(old)
    monkeypatch.setattr(publish, "read_neighbors", lambda folder, space: next(taken))
    monkeypatch.setattr(publish, "extend_neighbors", failing_second(made))
    with pytest.raises(UnavailableError):
        extend_index(STORE, BASE, CELLS, SPACES, IndexChoice(), {}, stages)
    assert [index.closed for index in (*old, *made)] == [True] * 3


def test_an_index_that_is_measured_again_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    part = SimpleNamespace(neighbors=Opened())
    index = SimpleNamespace(parts={"text": part})
    monkeypatch.setattr(commands, "_certificate", lambda entry: object())
    monkeypatch.setattr(cell_index, "read_cell_index", lambda folder: index)
    monkeypatch.setattr(cell_vectors, "read_vectors", lambda *rest: 1 / 0)
    entry: Any = SimpleNamespace(manifest={"format": INDEX_FORMAT})
    with pytest.raises(ZeroDivisionError):
        commands.recall_now(STORE, entry)
    assert part.neighbors.closed
