"""Names of versions."""

import pytest

from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.names import VersionName, embedding_name, parse_version_name


@pytest.mark.parametrize(
    ("text", "name", "is_version"),
    [
        ("pancreas", VersionName("pancreas", "latest"), False),
        ("pancreas@stable", VersionName("pancreas", "stable"), False),
        ("all-minilm-l6-v2@2026-11-22.3", VersionName("all-minilm-l6-v2", "2026-11-22.3"), True),
    ],
)
def test_names_are_read(text: str, name: VersionName, is_version: bool) -> None:
    assert parse_version_name(text, "cell index") == name
    assert name.is_version is is_version
    assert parse_version_name(str(name), "cell index") == name


@pytest.mark.parametrize("text", ["", "Pancreas", "a b", "../up", "x" * 101, "a'b", "-a"])
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="a name has up to 100 lower-case letters"):
        parse_version_name(text, "cell index")


@pytest.mark.parametrize("text", ["a@", "a@2026-11-22", "a@2026-11-22.0", "a@Stable", "a@b@c"])
def test_selectors_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="after '@' comes a version"):
        parse_version_name(text, "cell index")


def test_specs_of_models_become_names() -> None:
    assert embedding_name("random:384:0") == "random-384-0"
    assert embedding_name("all-minilm-l6-v2") == "all-minilm-l6-v2"
