"""Pages: each item once, whatever the size, while the list changes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellkin.server.pages import MOST, page_of
from cellkin.wire.errors import InvalidArgumentError

NAMES = st.sets(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=5)
)


@settings(deadline=None)
@given(NAMES, st.integers(0, 7))
def test_pages_together_are_the_list(names: set[str], size: int) -> None:
    items, found, token = sorted(names), [], ""
    while True:
        page, token = page_of(items, lambda n: (n,), size, token)
        assert len(page) <= (size or 100)
        found += page
        if not token:
            break
        assert page
    assert found == items


@settings(deadline=None)
@given(NAMES, NAMES, st.integers(1, 5))
def test_what_stays_is_listed_once_while_others_come_and_go(
    names: set[str], later: set[str], size: int
) -> None:
    page, token = page_of(sorted(names), lambda n: (n,), size, "")
    found = list(page)
    while token:
        page, token = page_of(sorted(names & later), lambda n: (n,), size, token)
        found += page
    assert len(found) == len(set(found))
    assert names & later <= set(found)


def test_a_page_is_never_longer_than_may_be() -> None:
    page, token = page_of(range(2 * MOST), lambda n: (f"{n:05d}",), MOST + 5, "")
    assert len(page) == MOST
    assert token


@pytest.mark.parametrize("token", ["?", "é", "AA", "a" * 9999, "_w=="])
def test_tokens_nobody_gave_out(token: str) -> None:
    with pytest.raises(InvalidArgumentError, match="was given out by no answer") as caught:
        page_of(["a"], lambda n: (n,), 1, token)
    assert caught.value.field == "page_token"


def test_a_negative_size() -> None:
    with pytest.raises(InvalidArgumentError, match="page_size is -1") as caught:
        page_of([], lambda n: (n,), -1, "")
    assert caught.value.field == "page_size"


def test_a_token_of_another_list() -> None:
    _, token = page_of(["a", "b"], lambda n: (n,), 1, "", of="one")
    assert page_of(["a", "b"], lambda n: (n,), 1, token, of="one") == (["b"], "")
    with pytest.raises(InvalidArgumentError, match="of another request") as caught:
        page_of(["a", "b"], lambda n: (n,), 1, token, of="two")
    assert caught.value.field == "page_token"
