"""Every public docstring of the client: what is taken and given, shapes, types, errors, source."""

import inspect
import re
from importlib.util import find_spec
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tests.packaging.public import Public, annotated, definition, parameters, public_names

from cellkin.client.surface import Surface
from cellkin.wire.protos import descriptor_set_path

MODULES = ("cellkin.client", "cellkin.client.tl", "cellkin.client.pl", "cellkin.wire.protos")
SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)
ARRAY = re.compile(r"NDArray\[np\.(\w+)\]")
SHAPE = re.compile(r"\((n|n_\w+|k|dim)\b[^)]*\)|\bn_\w+\b")
EVERY = [
    public
    for module in MODULES
    if find_spec(module)
    for public in public_names(module)
    if public.thing is not None and not public.name.endswith(".__init__")
]
CLASSES = [public for public in EVERY if inspect.isclass(public.thing)]
FUNCTIONS = [public for public in EVERY if inspect.isfunction(inspect.unwrap(public.thing))]
REQUESTS = [
    public for public in FUNCTIONS
    if "Client." in public.name and public.name.rpartition(".")[2] in vars(Surface)
]  # fmt: skip


def sections(text: str) -> dict[str, str]:
    """Return the sections of a numpydoc docstring by title; the text before them by ''."""
    parts = SECTION.split(inspect.cleandoc(text))
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def described(section: str) -> dict[str, str]:
    """Return what a section says of each of its names."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.strip("\n").splitlines():
        if line and not line.startswith(" "):
            names = [name.strip(" *") for name in line.partition(" : ")[0].split(",")]
            found |= dict.fromkeys(names, line + "\n")
        else:
            found |= {name: found[name] + line for name in names}
    return found


def undescribed(types: dict[str, str], said: dict[str, str]) -> list[str]:
    """Return the arrays of which not both shape and type are told."""
    wrong = []
    for name, kind in types.items():
        array = ARRAY.search(kind)
        if array and not (SHAPE.search(said[name]) and array[1].rstrip("_") in said[name]):
            wrong.append(f"{name}: {kind}")
    return wrong


def names(of: list[Public]) -> list[str]:
    return [public.name for public in of]


@pytest.mark.parametrize("public", EVERY, ids=names(EVERY))
def test_it_is_described_in_a_sentence(public: Public) -> None:
    if not (
        inspect.isclass(public.thing) or isinstance(public.thing, property) or public in FUNCTIONS
    ):
        return
    first = (inspect.unwrap(public.thing).__doc__ or "").partition("\n")[0]
    assert first.endswith("."), public.name


@pytest.mark.parametrize("public", CLASSES, ids=names(CLASSES))
def test_a_class_describes_its_fields_with_shapes_and_types(public: Public) -> None:
    if not hasattr(public.thing, "__dataclass_fields__"):
        return
    fields = {
        name: kind
        for base in reversed(inspect.getmro(public.thing))
        for name, kind in annotated(base).items()
        if not name.startswith("_")
    }
    said = described(sections(public.thing.__doc__ or "").get("Parameters", ""))
    assert list(said) == list(fields)
    assert undescribed(fields, said) == []


@pytest.mark.parametrize("public", FUNCTIONS, ids=names(FUNCTIONS))
def test_a_function_describes_what_it_takes_and_gives(public: Public) -> None:
    text, taken = sections(inspect.unwrap(public.thing).__doc__ or ""), parameters(public.thing)
    if "Parameters" in text or len(taken) > 1:
        said = described(text.get("Parameters", ""))
        assert set(said) == set(taken)
        same_as = re.compile(r"\bAs for `|\bAs `")
        arrays = {n: k for n, k in taken.items() if not same_as.search(said[n])}
        assert undescribed(arrays, said) == []
    returns = definition(public.thing).returns
    gives = returns is not None and getattr(returns, "value", ...) is not None
    if gives and taken:
        assert "Returns" in text or text[""].startswith(("Return ", "Read ")), "no Returns"


@pytest.mark.parametrize("public", REQUESTS, ids=names(REQUESTS))
def test_a_request_says_what_it_returns_what_it_raises_and_its_source(public: Public) -> None:
    text = sections(public.thing.__doc__ or "")
    assert "Returns" in text
    if parameters(public.thing):
        assert "Error" in text["Raises"]
    assert re.search(rf"\w+Service\.{rpc_of(public.name)}``", public.thing.__doc__ or "")


def test_every_request_is_of_one_rpc_its_source() -> None:
    protos = FileDescriptorSet.FromString(descriptor_set_path().read_bytes())
    rpcs = {rpc.name for file in protos.file for service in file.service for rpc in service.method}
    methods = {name for name in vars(Surface) if not name.startswith("_")}
    assert set(map(rpc_of, methods)) == rpcs


def rpc_of(method: str) -> str:
    """Return the RPC that a method of the client asks, its source."""
    return "".join(map(str.capitalize, method.rpartition(".")[2].split("_")))


def test_the_examination_finds_what_is_missing() -> None:
    def bad(a: int, b: "Any") -> int:
        """Add.

        Parameters
        ----------
        a
            One.
        """
        return a

    text = sections(bad.__doc__ or "")
    assert list(described(text["Parameters"])) == ["a"]
    assert list(parameters(bad)) == ["a", "b"]
    kinds = {"v": "npt.NDArray[np.float32]"}
    assert undescribed(kinds, {"v": "(n_cells,) float32"}) == []
    assert undescribed(kinds, {"v": "some numbers"}) == ["v: npt.NDArray[np.float32]"]
