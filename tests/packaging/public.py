"""What of cellkin is public, as it is written in the source: no version of Python changes it."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

MODULES = (
    "cellkin.client", "cellkin.client.tl", "cellkin.client.pl", "cellkin.wire.errors",
    "cellkin.wire.match", "cellkin.wire.names", "cellkin.wire.protos", "cellkin.wire.terms",
    "cellkin.matrices.cells", "cellkin.indexer.models.contract",
    *(f"cellkin.space.{name}" for name in (
        "attribution", "expression", "genes", "hierarchy", "matching", "projection", "classifier",
        "recipe",
    )),
)  # fmt: skip
"""What users and authors of embedding models import."""


@dataclass(frozen=True)
class Public:
    """One public name.

    Parameters
    ----------
    name
        In full.
    thing
        The function, class, property or constant.
    signature
        What follows the name: parameters, the type, the value.
    """

    name: str
    thing: Any
    signature: str

    def __str__(self) -> str:
        """Return a line of the public interface."""
        return f"{self.name}{self.signature}"


def public_names(module_name: str) -> Iterator[Public]:
    """Yield the public names of a module, with the members of its classes."""
    module = import_module(module_name)
    names = getattr(module, "__all__", None) or sorted(own_names(module))
    for name in names:
        thing, full = getattr(module, name), f"{module_name}.{name}"
        if inspect.isclass(thing):
            yield from _class(full, thing)
        elif inspect.isfunction(inspect.unwrap(thing)):
            yield Public(full, thing, signature(thing))
        else:
            yield Public(full, thing, f": {type(thing).__name__}")


def own_names(module: ModuleType) -> Iterator[str]:
    """Yield the names that a module defines itself and does not hide."""
    for node in ast.parse(inspect.getsource(module)).body:
        found: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found = [node.name]
        elif isinstance(node, ast.Assign):
            found = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found = [node.target.id]
        yield from (name for name in found if not name.startswith("_"))


def _class(full: str, of: type) -> Iterator[Public]:
    bases = [base.__name__ for base in of.__bases__ if base is not object]
    yield Public(full, of, f"({', '.join(bases)})")
    members = {name: value for base in reversed(of.__mro__) for name, value in vars(base).items()
               if base.__module__.startswith("cellkin.")}  # fmt: skip
    fields = {name: where for where in reversed(of.__mro__) for name in annotated(where)}
    for name, where in fields.items():
        if not name.startswith("_"):
            yield Public(f"{full}.{name}", None, f": {annotated(where)[name]}")
    for name, value in sorted(members.items()):
        if name in fields or (name.startswith("_") and name != "__init__"):
            continue
        if isinstance(value, property):
            yield Public(f"{full}.{name}", value, " (property)")
        elif isinstance(value, classmethod | staticmethod):
            yield Public(f"{full}.{name}", value.__func__, signature(value.__func__))
        elif callable(value):
            if name != "__init__" or not hasattr(of, "__dataclass_fields__"):
                yield Public(f"{full}.{name}", value, signature(value))
        else:
            yield Public(f"{full}.{name}", value, f" = {_plain(value)}")


def _plain(value: object) -> str:
    number = getattr(value, "value", value)
    return repr(number) if isinstance(number, str | int | float | None) else type(number).__name__


def annotated(of: type) -> dict[str, str]:
    """Return the fields that the body of a class declares, and their types as written."""
    if not of.__module__.startswith("cellkin."):
        return {}
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(of))).body
    assert isinstance(node, ast.ClassDef)
    return {
        part.target.id: ast.unparse(part.annotation)
        + (f" = {ast.unparse(part.value)}" if part.value else "")
        for part in node.body
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
    }


def definition(thing: Any) -> ast.FunctionDef | ast.AsyncFunctionDef:
    """Return a function as it is written."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))).body
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return node


def signature(thing: Any) -> str:
    """Return the parameters and the answer of a function as they are written."""
    node = definition(thing)
    answer = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){answer}"


def parameters(thing: Any) -> dict[str, str]:
    """Return the names and types of a function's parameters, without ``self`` and ``cls``."""
    given = definition(thing).args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    return {
        each.arg: ast.unparse(each.annotation) if each.annotation else ""
        for each in every
        if each is not None and each.arg not in ("self", "cls")
    }
