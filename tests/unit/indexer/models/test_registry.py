"""Models by name."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from cellkin.indexer.models import registry
from cellkin.indexer.models.registry import load_model, model_names
from cellkin.wire.errors import MissingDependencyError, NotFoundError


def fake(argument: str = "", *, allow_download: bool = False) -> Any:
    """Return the arguments, in place of a model."""
    return (argument, allow_download)


def needs_a_package(argument: str = "", *, allow_download: bool = False) -> Any:
    raise ModuleNotFoundError("No module named 'torch'", name="torch")


def needs_openai(argument: str = "", *, allow_download: bool = False) -> Any:
    raise ModuleNotFoundError("No module named 'openai'", name="openai")


def has_a_bug(argument: str = "", *, allow_download: bool = False) -> Any:
    raise ModuleNotFoundError("No module named 'cellkin.nowhere'", name="cellkin.nowhere")


load: Any = load_model


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install four models: one works, two lack a package, one has a bug of ours."""
    points = [
        EntryPoint(name, f"{__name__}:{function.__name__}", registry.GROUP)
        for name, function in (
            ("works", fake),
            ("lacks", needs_a_package),
            ("remote", needs_openai),
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
    assert model_names() == ["buggy", "lacks", "remote", "works"]


def test_an_unknown_name() -> None:
    with pytest.raises(NotFoundError) as caught:
        load_model("bert:x")
    assert "'bert'" in caught.value.message
    assert "buggy, lacks, remote, works" in caught.value.message


@pytest.mark.parametrize(
    ("model", "package", "extra"), [("lacks", "torch", "embed"), ("remote", "openai", "openai")]
)
def test_a_package_that_is_not_installed(model: str, package: str, extra: str) -> None:
    with pytest.raises(MissingDependencyError) as caught:
        load_model(model)
    assert repr(package) in caught.value.message
    assert f"pip install 'cellkin[{extra}]'" in caught.value.message


def test_a_bug_of_ours_is_not_called_a_missing_package() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"cellkin\.nowhere"):
        load_model("buggy")
