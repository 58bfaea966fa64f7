"""What names mean: versions, aliases, retractions."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from cellkin.store.catalog import Catalog, Entry, Kind
from cellkin.store.store import Store
from cellkin.wire.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    RetractedError,
)
from cellkin.wire.names import VersionName


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Store.create(str(tmp_path / "s")).catalog


@pytest.fixture
def three(catalog: Catalog) -> list[Entry]:
    return [catalog.commit(Kind.INDEX, "pancreas", f"d{i}", {"i": i}) for i in range(3)]


def meant(catalog: Catalog, selector: str = "latest") -> str:
    return catalog.resolve(Kind.INDEX, VersionName("pancreas", selector)).version


def test_versions_sort_by_number_and_not_by_letter(catalog: Catalog) -> None:
    made = [catalog.commit(Kind.INDEX, "pancreas", "d", {}) for _ in range(11)]
    assert [entry.order[1] for entry in catalog.entries(Kind.INDEX)] == list(range(1, 12))
    assert meant(catalog) == made[-1].version


def test_an_alias_moves_and_versions_do_not(catalog: Catalog, three: list[Entry]) -> None:
    catalog.set_alias(three[0], "stable")
    assert meant(catalog, "stable") == three[0].version
    catalog.set_alias(three[1], "stable")
    assert meant(catalog, "stable") == three[1].version
    assert meant(catalog, three[0].version) == three[0].version
    assert catalog.aliases() == {(Kind.INDEX, "pancreas", "stable"): three[1].version}


@pytest.mark.parametrize(
    ("alias", "message"),
    [
        ("latest", "'latest' is always the newest version; choose another alias"),
        ("Stable", "alias 'Stable': an alias has up to 40 lower-case letters"),
        ("2026-11-22.1", "alias '2026-11-22.1': an alias has up to 40"),
    ],
)
def test_aliases_that_are_none(
    catalog: Catalog, three: list[Entry], alias: str, message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        catalog.set_alias(three[0], alias)


def test_an_alias_that_is_not_there(catalog: Catalog, three: list[Entry]) -> None:
    catalog.set_alias(three[0], "stable")
    with pytest.raises(
        NotFoundError,
        match=rf"'pancreas' has no alias 'best'; there is: .*{three[2].version}, latest, stable",
    ):
        meant(catalog, "best")


def test_a_retracted_version_is_refused_with_reason_and_replacement(
    catalog: Catalog, three: list[Entry]
) -> None:
    catalog.set_alias(three[2], "stable")
    catalog.retract(three[2], "wrong labels", three[1], force=True)
    assert meant(catalog) == three[1].version
    for selector in (three[2].version, "stable"):
        with pytest.raises(
            RetractedError,
            match=f"cell index {three[2].full_name} was retracted: wrong labels; "
            f"use {three[1].full_name}",
        ) as caught:
            meant(catalog, selector)
        assert caught.value.metadata["replacement"] == three[1].full_name
    # What was made from it can still be read.
    wanted = VersionName("pancreas", three[2].version)
    assert catalog.version(Kind.INDEX, wanted) == three[2]


def test_when_all_is_retracted_latest_says_so(catalog: Catalog, three: list[Entry]) -> None:
    for entry in three:
        catalog.retract(entry, "all wrong", force=entry == three[-1])
    with pytest.raises(RetractedError, match="all wrong; there is no replacement"):
        meant(catalog)


def test_a_retraction_needs_a_reason(catalog: Catalog, three: list[Entry]) -> None:
    with pytest.raises(InvalidArgumentError, match="a retraction needs a reason"):
        catalog.retract(three[0], "  ")
    with pytest.raises(InvalidArgumentError, match="cannot replace itself"):
        catalog.retract(three[0], "bad", three[0])
    assert catalog.retractions() == {}


def test_what_an_alias_means_is_not_retracted_by_accident(
    catalog: Catalog, three: list[Entry]
) -> None:
    catalog.set_alias(three[1], "stable")
    with pytest.raises(FailedPreconditionError, match="is what stable means"):
        catalog.retract(three[1], "wrong")
    assert catalog.retractions() == {}
    catalog.retract(three[1], "wrong", force=True)
    with pytest.raises(RetractedError, match="wrong; there is no replacement"):
        meant(catalog, "stable")
    # Nor does an alias come to mean one.
    with pytest.raises(RetractedError, match="was retracted: wrong"):
        catalog.set_alias(three[1], "best")


def test_the_last_version_is_not_retracted_by_accident(
    catalog: Catalog, three: list[Entry]
) -> None:
    catalog.commit(Kind.INDEX, "other", "d", {})
    for entry in three[:2]:
        catalog.retract(entry, "wrong")
    with pytest.raises(FailedPreconditionError, match="is the only version of 'pancreas' that"):
        catalog.retract(three[2], "wrong")
    assert meant(catalog) == three[2].version
    catalog.retract(three[0], "another reason")
    assert set(catalog.retractions()) == {(Kind.INDEX, "pancreas", e.version) for e in three[:2]}


def test_a_retraction_is_taken_back(catalog: Catalog, three: list[Entry]) -> None:
    with pytest.raises(FailedPreconditionError, match="is not retracted"):
        catalog.unretract(three[2])
    catalog.retract(three[2], "wrong")
    catalog.unretract(three[2])
    assert meant(catalog) == three[2].version
    assert catalog.problems() == []


def test_versions_are_removed_and_their_numbers_are_not_given_again(
    catalog: Catalog, three: list[Entry]
) -> None:
    catalog.set_alias(three[0], "stable")
    catalog.retract(three[2], "wrong")
    with pytest.raises(FailedPreconditionError, match=f"{three[0].full_name} is what stable means"):
        catalog.remove([three[2], three[0]])
    catalog.remove(three[1:])
    assert catalog.entries() == three[:1]
    assert catalog.retractions() == {}
    assert [removed.entry for removed in catalog.removed()] == three[1:]
    with pytest.raises(NotFoundError, match=f"{three[2].full_name} was removed on 20.*; there is"):
        meant(catalog, three[2].version)
    with pytest.raises(NotFoundError, match="was removed on"):
        catalog.remove([three[2]])
    assert catalog.commit(Kind.INDEX, "pancreas", "d", {}).order[1] == 4
    assert catalog.problems() == []


def test_the_last_version_that_was_removed_is_said_to_be(
    catalog: Catalog, three: list[Entry]
) -> None:
    catalog.remove(three)
    with pytest.raises(NotFoundError, match=f"{three[0].full_name} was removed on 20.*; there is"):
        meant(catalog, three[0].version)
    for selector in ("latest", "2026-01-01.1"):
        with pytest.raises(NotFoundError, match="no cell index 'pancreas' in this store"):
            meant(catalog, selector)


def test_a_replacement_stands(catalog: Catalog, three: list[Entry]) -> None:
    catalog.remove([three[0]])
    with pytest.raises(NotFoundError, match=f"{three[0].full_name} was removed"):
        catalog.retract(three[1], "wrong", three[0])
    catalog.retract(three[1], "wrong")
    with pytest.raises(RetractedError, match=f"{three[1].full_name} was retracted"):
        catalog.retract(three[2], "wrong", three[1], force=True)
    assert len(catalog.retractions()) == 1


def test_what_others_were_made_from_is_not_removed(catalog: Catalog) -> None:
    corpus = catalog.commit(Kind.CORPUS, "genes", "d", {})
    model = catalog.commit(Kind.EMBEDDING, "model", "d", {"corpus": corpus.full_name})
    made_from = {"corpus": corpus.full_name, "embedding": model.full_name}
    index = catalog.commit(Kind.INDEX, "pancreas", "d", made_from)
    with pytest.raises(FailedPreconditionError, match=f"{model.full_name} was made from it"):
        catalog.remove([corpus, index])
    catalog.remove([model, index])
    with pytest.raises(FailedPreconditionError, match="which was removed meanwhile"):
        catalog.commit(Kind.INDEX, "pancreas", "d", made_from)
    assert catalog.entries() == [corpus]


def test_writers_at_one_time_each_get_a_number(catalog: Catalog, tmp_path: Path) -> None:
    def write(who: int) -> list[str]:
        mine = Store.open(str(tmp_path / "s")).catalog
        return [mine.commit(Kind.INDEX, "pancreas", "d", {"who": who}).version for _ in range(3)]

    with ThreadPoolExecutor(3) as writers:
        versions = [v for found in writers.map(write, range(3)) for v in found]
    assert sorted(versions) == sorted(entry.version for entry in catalog.entries())
    assert len(set(versions)) == 9
    assert catalog.problems() == []


def test_a_clock_that_was_set_back_dates_no_version_before_an_earlier_one(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = catalog.commit(Kind.INDEX, "x", "d", {})
    day, number = first.order

    class Back(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) - timedelta(days=2)

    monkeypatch.setattr("cellkin.store.catalog.datetime", Back)
    second = catalog.commit(Kind.INDEX, "x", "d", {})
    assert second.order == (day, number + 1)
    assert catalog.resolve(Kind.INDEX, VersionName("x")) == second
    assert catalog.commit(Kind.INDEX, "y", "d", {}).order < first.order
