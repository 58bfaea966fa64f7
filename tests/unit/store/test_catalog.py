"""What names mean: versions, aliases, retractions."""

from pathlib import Path

import pytest

from cellkin.store.catalog import Catalog, Entry, Kind
from cellkin.store.store import Store
from cellkin.wire.errors import InvalidArgumentError, NotFoundError, RetractedError
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
