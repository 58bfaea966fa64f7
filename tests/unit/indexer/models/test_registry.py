"""Models by name."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from cellkin.indexer.models import registry
from cellkin.indexer.models.registry import load_model, model_names
from cellkin.wire.errors import MissingDependencyError, NotFoundError


def fake(argument: str = "", *, allow_download: bool = False) -> Any:
    """Stands for a loader: gives back what it was asked."""
    return (argument, allow_download)


def needs_a_package(argument: str = "", *, allow_download: bool = False) -> Any:
    raise ModuleNotFoundError("No module named 'torch'", name="torch")


def has_a_bug(argument: str = "", *, allow_download: bool = False) -> Any:
    raise ModuleNotFoundError("No module named 'cellkin.nowhere'", name="cellkin.nowhere")


load: Any = load_model


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models installed: one that works, one that lacks a package, one with a bug of ours."""
    points = [
        EntryPoint(name, f"{__name__}:{function.__name__}", registry.GROUP)
        for name, function in (
            ("works", fake),
            ("lacks", needs_a_package),
            ("buggy", has_a_bug),
        )
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


def test_a_model_is_loaded_by_its_name() -> None:
    assert load("works") == ("", False)
    assert load("works", allow_download=True) == ("", True)


def test_what_follows_the_colon_is_the_argument() -> None:
    assert load("works:/models/a:b") == ("/models/a:b", False)


def test_names_are_sorted() -> None:
    assert model_names() == ["buggy", "lacks", "works"]


def test_an_unknown_name() -> None:
    with pytest.raises(NotFoundError) as caught:
        load_model("bert:x")
    assert caught.value.message == (
        "no embedding model named 'bert'; there are: buggy, lacks, works"
    )


def test_a_package_that_is_not_installed() -> None:
    with pytest.raises(MissingDependencyError) as caught:
        load_model("lacks")
    assert caught.value.message == (
        "embedding model 'lacks' needs the package 'torch', which is not installed: "
        "pip install 'cellkin[embed]'"
    )


def test_a_bug_of_ours_is_not_called_a_missing_package() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"cellkin\.nowhere"):
        load_model("buggy")
