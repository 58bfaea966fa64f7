"""Where the pages are served, and to whom."""

import pytest

from cellkin.explore.commands import parse_listen
from cellkin.wire.errors import InvalidArgumentError

pytest.importorskip("panel", reason="needs the extra explore")

from cellkin.explore.serving import Settings, address_of, is_this_machine, origins_of


@pytest.mark.parametrize(
    ("address", "found"),
    [("127.0.0.1:5006", ("127.0.0.1", 5006)), ("[::1]:0", ("::1", 0)), ("box:80", ("box", 80))],
    ids=["v4", "v6", "name"],
)
def test_an_address_is_split(address: str, found: tuple[str, int]) -> None:
    assert parse_listen(address) == found


@pytest.mark.parametrize("address", ["5006", "box", "box:http", "box:70000", "box:-1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidArgumentError, match="HOST:PORT"):
        parse_listen(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_is_known(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "box"])
def test_other_machines_are_known(host: str) -> None:
    assert not is_this_machine(host)


def test_browsers_are_accepted_by_the_names_given() -> None:
    settings = Settings(None, "127.0.0.1", 5006, ("cells.example.org",), None, 10)
    assert origins_of(settings) == ["127.0.0.1:5006", "localhost:5006", "cells.example.org"]


def test_an_address_is_told_as_a_browser_takes_it() -> None:
    assert address_of("127.0.0.1", 5006) == "http://127.0.0.1:5006"
    assert address_of("::1", 5006) == "http://[::1]:5006"
