"""Models by name."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from cellkin.indexer.models import registry
from cellkin.indexer.models.registry import load_model, model_names
from cellkin.wire.errors import InvalidArgumentError, MissingDependencyError, NotFoundError


def fake(argument: str = "", *, allow_download: bool = False) -> Any:
    """Return the arguments, in place of a model."""
    return (argument, allow_download)


def encodes(argument: str = "", *, allow_download: bool = False, runtime: str = "auto") -> Any:
    """Return the arguments, in place of an encoder."""
    return (argument, allow_download, runtime)


def needs_a_package(argument: str = "", *, allow_download: bool = False) -> Any:
    raise ModuleNotFoundError("No module named 'torch'", name="torch")


def needs_openai(argument: str = "", *, allow_download: bool = False) -> Any:
    raise ModuleNotFoundError("No module named 'openai'", name="openai")


def has_a_bug(argument: str = "", *, allow_download: bool = False) -> Any:
    raise ModuleNotFoundError("No module named 'cellkin.nowhere'", name="cellkin.nowhere")


load: Any = load_model


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install five models: two work, two lack a package, one has a bug of ours."""
    points = [
        EntryPoint(name, f"{__name__}:{function.__name__}", registry.GROUP)
        for name, function in (
            ("works", fake),
            ("encodes", encodes),
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
    assert model_names() == ["buggy", "encodes", "lacks", "remote", "works"]


def test_an_unknown_name() -> None:
    with pytest.raises(NotFoundError) as caught:
        load_model("bert:x")
    assert "'bert'" in caught.value.message
    assert "buggy, encodes, lacks, remote, works" in caught.value.message


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


def test_a_runtime_is_handed_on_only_where_it_is_chosen() -> None:
    assert load("encodes:x") == ("x", False, "auto")
    assert load("encodes:x", runtime="torch") == ("x", False, "torch")
    assert load("works", runtime="auto") == ("", False)


def test_a_model_that_is_not_computed_here_has_no_runtime() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        load("works", runtime="openvino")
    assert caught.value.message == (
        "model 'works' has no runtime to choose; leave out the runtime 'openvino'"
    )
