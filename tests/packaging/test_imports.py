"""Every library that is imported is declared, by the extra of the commands that import it.

A command imports what its module and all modules reachable from it import when they are loaded.
What is imported later, in a function, has to be declared by some extra.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {
    "cellkin": (ROOT / "pyproject.toml", ("store", "indexer", "server")),
    "cellkin-client": (ROOT / "clients" / "pyproject.toml", ("clients/python", "clients/cli")),
}
# Modules whose name is not that of their distribution, or that several distributions provide.
CALLED = {
    "faiss": {"faiss-cpu"},
    "google.protobuf": {"protobuf"},
    "google.rpc": {"googleapis-common-protos"},
    "grpc": {"grpcio"},
    "lance": {"pylance"},
}
# Looked for and done without, where others bring them.
OPTIONAL = {"hdf5plugin"}
Brought: TypeAlias = dict[str, tuple[str, ...]]
# What users install for each command: README.md says so.
CLIENT: Brought = {"cellkin-client": ("",)}
FILES: Brought = {"cellkin-client": ("", "anndata")}
PAGES: Brought = {"cellkin-client": ("", "explore")}
AGENTS: Brought = {"cellkin-client": ("", "anndata", "mcp")}
STORE: Brought = {"cellkin": ("",), "cellkin-client": ("",)}
INDEXER: Brought = {"cellkin": ("", "cpu", "cells"), "cellkin-client": ("",)}
SERVER: Brought = {"cellkin": ("", "cpu", "server"), "cellkin-client": ("",)}
EVALUATION: Brought = {"cellkin": ("", "cpu", "cells", "evaluate"), "cellkin-client": ("",)}
DEMO: Brought = {
    "cellkin": ("", "cpu", "cells", "embed", "evaluate", "server"),
    "cellkin-client": ("", "anndata"),
}
OWN: Brought = {"cellkin": ("", "cpu", "cells", "server"), "cellkin-client": ("",)}
COMMANDS = {
    "cellkin.cli.main": CLIENT,
    "cellkin.cli.administer": CLIENT,
    "cellkin.cli.enrich": CLIENT,
    "cellkin.cli.genesets": CLIENT,
    "cellkin.cli.indexes": CLIENT,
    "cellkin.cli.status": CLIENT,
    "cellkin.cli.search": CLIENT,
    "cellkin.cli.annotate": FILES,
    "cellkin.cli.explain": FILES,
    "cellkin.cli.subtypes": FILES,
    "cellkin.client.tl": FILES,
    "cellkin.explore.commands": PAGES,
    "cellkin.mcp.command": AGENTS,
    "cellkin.client.pl": FILES,
    "cellkin.indexer.commands.corpora": STORE,
    "cellkin.indexer.commands.embeddings": STORE,
    "cellkin.indexer.commands.genes": STORE,
    "cellkin.indexer.commands.genesets": STORE,
    "cellkin.indexer.commands.cells": INDEXER,
    "cellkin.indexer.commands.convert": INDEXER,
    "cellkin.indexer.commands.indexes": INDEXER,
    "cellkin.indexer.commands.demo": DEMO,
    "cellkin.indexer.commands.evaluate": EVALUATION,
    "cellkin.indexer.commands.quickstart": OWN,
    "cellkin.indexer.commands.store": INDEXER,
    "cellkin.indexer.quickstart.run": OWN,
    "cellkin.server.commands": SERVER,
    "cellkin.server.process": SERVER,
}


@dataclass(frozen=True)
class Import:
    """One import.

    Parameters
    ----------
    module
        What is imported.
    late
        Whether only when a function is called.
    """

    module: str
    late: bool


def sources() -> Iterator[tuple[str, str, Path]]:
    """Yield the name of every module, its distribution and its file."""
    for distribution, (_, roots) in DISTRIBUTIONS.items():
        for root in roots:
            for path in (ROOT / root / "cellkin").rglob("*.py"):
                parts = path.relative_to(ROOT / root).with_suffix("").parts
                yield ".".join(parts).removesuffix(".__init__"), distribution, path


def imports(node: ast.AST, late: bool = False) -> Iterator[Import]:
    """Yield the imports of a module, but for those that only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (Import(each.name, late) for each in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.module is not None
            yield Import(child.module, late)
            yield from (Import(f"{child.module}.{each.name}", late) for each in child.names)
        else:
            in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from imports(child, late or in_function)


MODULES = {name: list(imports(ast.parse(path.read_text()))) for name, _, path in sources()}


def third_party(module: str) -> str:
    """Return the library that a module is of, or nothing if it is Python's own or cellkin's."""
    top, _, rest = module.partition(".")
    if top == "google":  # a folder of many distributions
        return f"{top}.{rest.partition('.')[0]}" if rest else ""
    return "" if top == "cellkin" or top in sys.stdlib_module_names else top


def reached(command: str) -> dict[str, str]:
    """Return the libraries that a command needs, each with a module that imports it."""
    found: dict[str, str] = {}
    seen, waiting = {command}, [command]
    while waiting:
        module = waiting.pop()
        for each in MODULES[module]:
            if each.late and module != command:
                continue
            if library := third_party(each.module):
                found.setdefault(library, module)
            parts = each.module.split(".")
            inner = {".".join(parts[:n]) for n in range(2, len(parts) + 1)} & MODULES.keys()
            waiting += sorted(inner - seen)
            seen |= inner
    return found


def declared(distribution: str, extras: tuple[str, ...] | None = None) -> set[str]:
    """Return the distributions that extras bring, ``""`` for what always comes; None for all."""
    project = tomllib.loads(DISTRIBUTIONS[distribution][0].read_text())["project"]
    optional = project["optional-dependencies"]
    brought = list(project["dependencies"]) if extras is None or "" in extras else []
    for extra in optional if extras is None else set(extras) - {""}:
        brought += optional[extra]
    return {re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace("_", "-") for line in brought}


INSTALLED = packages_distributions()


def satisfied(library: str, by: set[str]) -> bool:
    """Tell whether what is declared brings a library."""
    known = INSTALLED.get(library, [library])
    named = CALLED.get(library) or {name.lower().replace("_", "-") for name in known}
    return bool(by & named)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_what_a_command_imports_is_brought_by_its_extras(command: str) -> None:
    by = set().union(*(declared(name, extras) for name, extras in COMMANDS[command].items()))
    missing = {lib: where for lib, where in reached(command).items() if not satisfied(lib, by)}
    assert not missing, f"neither declared nor imported late: {missing}"


@pytest.mark.parametrize("distribution", sorted(DISTRIBUTIONS))
def test_whatever_is_imported_is_declared_by_some_extra(distribution: str) -> None:
    by = declared(distribution)
    if distribution == "cellkin":
        by |= declared("cellkin-client", ("",))
    missing = {
        library: name
        for name, of, _ in sources()
        if of == distribution
        for each in MODULES[name]
        if (library := third_party(each.module))
        and library not in OPTIONAL
        and not satisfied(library, by)
    }
    assert not missing


def test_every_command_is_looked_at() -> None:
    points = {
        point.partition(":")[0]
        for path, _ in DISTRIBUTIONS.values()
        for point in tomllib.loads(path.read_text())["project"]["entry-points"][
            "cellkin.commands"
        ].values()
    }
    assert points <= set(COMMANDS)
