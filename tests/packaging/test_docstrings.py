"""What the documentation of the Python client says of every public function."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import cellkin.client as ck
from cellkin.client import pl, tl
from cellkin.client.core import _Method
from cellkin.client.surface import Surface


def functions() -> Iterator[tuple[str, Any]]:
    for name, value in vars(Surface).items():
        if isinstance(value, _Method):
            yield name, value
    for module in (tl, pl):
        for name, value in vars(module).items():
            ours = inspect.isfunction(value) and value.__module__ == module.__name__
            if ours and not name.startswith("_"):
                yield f"{module.__name__.rpartition('.')[2]}.{name}", value
    yield "reproduce", ck.reproduce


FUNCTIONS = dict(functions())


def sections(doc: str) -> dict[str, str]:
    """Split a numpydoc text by its underlined headings."""
    lines = doc.splitlines()
    found: dict[str, list[str]] = {"": []}
    heading = ""
    for at, line in enumerate(lines):
        below = lines[at + 1] if at + 1 < len(lines) else ""
        if line and set(below) == {"-"}:
            heading = line
            found[heading] = []
        elif not line or set(line) != {"-"}:
            found[heading].append(line)
    return {name: "\n".join(text) for name, text in found.items()}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_answer_and_error_is_described(name: str) -> None:
    function = FUNCTIONS[name]
    doc = sections(inspect.getdoc(function) or "")
    signature = inspect.signature(function)
    listed = {
        parameter.strip()
        for line in doc.get("Parameters", "").splitlines()
        if line and not line.startswith(" ")
        for parameter in line.split(",")
    }
    assert listed == set(signature.parameters), name
    assert "Returns" in doc or not any(w in name for w in ("search", "predict", "tl.", "pl.")), name
    if name not in {"list_aliases", "list_embedding_models", "list_cell_indexes"}:
        assert "Error" in doc["Raises"], name


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if hasattr(Surface, name)])
def test_every_request_says_where_its_answer_is_from(name: str) -> None:
    method = "".join(part.capitalize() for part in name.split("_"))
    assert f"Service.{method}``" in (inspect.getdoc(FUNCTIONS[name]) or "")


@pytest.mark.parametrize("name", ck.__all__)
def test_every_field_of_a_result_is_described(name: str) -> None:
    value = getattr(ck, name)
    assert inspect.getdoc(value)
    fields = getattr(value, "__dataclass_fields__", {})
    if len(fields) > 2:
        doc = sections(inspect.getdoc(value) or "")["Parameters"]
        for field in fields:
            assert field in doc, (name, field)
