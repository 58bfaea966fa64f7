"""Which versions of a name are no longer needed."""

import pytest

from cellkin.store.catalog import CatalogView, Entry, Kind, Retraction
from cellkin.store.prune import superseded
from cellkin.wire.errors import NotFoundError


def view(*, retracted: tuple[int, ...] = (), stable: int = 0, made_from: int = 0) -> CatalogView:
    """Five versions of one embedding, and an index made from one of them."""
    versions = [f"2026-01-0{i}.1" for i in range(1, 6)]
    entries = [Entry(Kind.EMBEDDING, "m", version, "", "", {}) for version in versions]
    if made_from:
        manifest = {"embedding": entries[made_from - 1].full_name}
        entries.append(Entry(Kind.INDEX, "x", "2026-01-09.1", "", "", manifest))
    aliases = {(Kind.EMBEDDING, "m", "stable"): versions[stable - 1]} if stable else {}
    why = {(Kind.EMBEDDING, "m", versions[i - 1]): Retraction("bad", "") for i in retracted}
    return CatalogView(entries, aliases, why, [])


def going(view: CatalogView, keep: int | None, retracted: bool = False) -> list[tuple[int, str]]:
    found = superseded(view, Kind.EMBEDDING, "m", keep, retracted)
    return [(int(each.entry.version[9]), each.why_kept) for each in found]


def test_the_newest_stay() -> None:
    assert going(view(), 2) == [(1, ""), (2, ""), (3, "")]
    assert going(view(), 9) == []
    assert [number for number, _ in going(view(), 0)] == [1, 2, 3, 4, 5]


def test_those_that_were_retracted_go_only_where_asked_for() -> None:
    assert going(view(retracted=(2, 5)), 2) == [(1, "")]
    assert going(view(retracted=(2, 5)), 2, True) == [(1, ""), (2, ""), (5, "")]
    assert going(view(retracted=(2, 5)), None, True) == [(2, ""), (5, "")]


def test_what_is_needed_stays() -> None:
    assert going(view(stable=1, made_from=2), 3) == [
        (1, "kept: stable means it"),
        (2, "kept: cell index x@2026-01-09.1 was made from it"),
    ]


def test_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(NotFoundError, match="no cell index 'm' in this store; there is: none yet"):
        superseded(view(), Kind.INDEX, "m", 1, False)
