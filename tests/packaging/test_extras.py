"""Commands run with nothing but the distributions that their extras pull in.

Each environment is a folder of links to what is installed here, chosen by the requirements of
cellkin's two projects and of what they require, so that nothing is downloaded.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.integration.conftest import running_server

ROOT = Path(__file__).parents[2]
PROJECTS = {"cellkin": ROOT / "pyproject.toml", "cellkin-client": ROOT / "clients/pyproject.toml"}
SOURCES = [ROOT / "store", ROOT / "indexer", ROOT / "server"]
CLIENT_SOURCES = [ROOT / "clients/python", ROOT / "clients/cli"]
pytestmark = pytest.mark.integration


@cache
def requirements(name: str) -> list[Requirement]:
    """Return what a distribution requires, its extras' requirements with markers."""
    if name not in PROJECTS:
        return [Requirement(line) for line in distribution(name).requires or ()]
    project = tomllib.loads(PROJECTS[name].read_text())["project"]
    found = [Requirement(line) for line in project["dependencies"]]
    for extra, lines in project["optional-dependencies"].items():
        for line in lines:
            text, _, marker = line.partition(";")
            both = f"({marker}) and " if marker else ""
            found.append(Requirement(f"{text}; {both}extra == '{extra}'"))
    return found


def pulled_in(wanted: list[str]) -> set[str]:
    """Return the names of all distributions that requirements such as ``cellkin[cpu]`` pull in.

    The test is skipped if one of them is not installed.
    """
    names: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in wanted]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            names.add(name)
            try:
                waiting += [
                    each
                    for each in requirements(name)
                    if each.marker is None or each.marker.evaluate({"extra": extra})
                ]
            except PackageNotFoundError:
                pytest.skip(f"{name}, of {' '.join(wanted)}, is not installed")
    return names


@cache
def entries() -> dict[str, tuple[Path, set[str]]]:
    """Return, by distribution, its folder and what it has in there, as relative paths.

    A folder that several distributions share, such as ``google``, is not among them; what it has
    inside is.
    """
    everything: dict[str, list[tuple[str, ...]]] = {}
    folders: dict[str, Path] = {}
    for each in distributions():
        name = canonicalize_name(each.metadata["Name"])
        everything[name] = [file.parts for file in each.files or () if file.parts[0] != ".."]
        folders[name] = Path(str(each.locate_file("")))
    depth = 1
    found: dict[str, set[str]] = {name: set() for name in everything}
    while any(everything.values()):
        tops = {name: {parts[:depth] for parts in files} for name, files in everything.items()}
        owners = Counter(top for of_one in tops.values() for top in of_one)
        for owner, files in everything.items():
            own = {top for top in tops[owner] if owners[top] == 1}
            found[owner] |= {str(Path(*top)) for top in own}
            everything[owner] = [p for p in files if p[:depth] not in own and len(p) > depth]
        depth += 1
    return {name: (folders[name], found[name]) for name in found}


class Environment:
    """An environment of some distributions."""

    def __init__(self, folder: Path, wanted: list[str]) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        names = pulled_in(wanted)
        for name in names:
            origin, paths = entries()[name]
            for path in paths:
                if path.endswith(".pth") or "__pycache__" in path:
                    continue
                link = packages / path
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(origin / path)
        roots = CLIENT_SOURCES + (SOURCES if "cellkin" in names else [])
        (packages / "cellkin.pth").write_text("".join(f"{root}\n" for root in roots))
        self._python = folder / "bin/python"
        self._command = folder / "bin/cellkin"
        self._command.write_text(
            f"#!{self._python}\nimport sys\nfrom cellkin.cli.main import main\nsys.exit(main())\n"
        )
        self._command.chmod(0o755)
        self._variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        self.folder = folder

    def _run(self, *command: str | Path, code: int = 0) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def cellkin(self, *arguments: str | Path, code: int = 0) -> str:
        """Run the command; return what it prints."""
        return self._run(self._command, *arguments, code=code)

    def python(self, code: str) -> str:
        """Run Python code; return what it prints."""
        return self._run(self._python, "-c", code)

    @contextmanager
    def start(self, *arguments: str | Path) -> Iterator[str]:
        """Run the command until the block ends; yield the first line that it prints."""
        process = subprocess.Popen(
            [self._command, *arguments], env=self._variables, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            yield process.stdout.readline()
        finally:
            process.terminate()
            process.communicate(timeout=60)

    def lacks(self, *modules: str) -> None:
        """Check that modules cannot be imported."""
        found = self.python(
            "import importlib.util as u\n"
            f"print([m for m in {modules!r} if u.find_spec(m) is not None])"
        )
        assert found.strip() == "[]"


@pytest.fixture
def environment(tmp_path: Path) -> Callable[..., Environment]:
    return lambda *wanted: Environment(tmp_path / "env", list(wanted))


@pytest.fixture(scope="module")
def address(store_path: Path) -> Iterator[str]:
    with running_server(store_path) as (listening, _):
        yield listening


Make = Callable[..., Environment]


def test_the_client_alone(environment: Make, query_path: Path, address: str) -> None:
    env = environment("cellkin-client")
    env.lacks(
        "anndata", "pandas", "pyarrow", "matplotlib", "h5py", "torch", "lancedb", "cellkin.store"
    )
    assert "annotate" in env.cellkin("--help")
    assert "trio" in env.cellkin("status", "--server", address)
    asked = ("search", "genes", "GENE1", "--embedding", "random-64-7", "--server", address)
    assert "GENE" in env.cellkin(*asked)
    refused = env.cellkin("annotate", query_path, "--index", "trio", "--server", address, code=2)
    assert "cellkin-client[anndata]" in refused


def test_files_of_cells(environment: Make, query_path: Path, address: str) -> None:
    env = environment("cellkin-client[anndata]")
    env.lacks("pyarrow", "matplotlib", "torch", "lancedb", "sklearn", "cellkin.store")
    asked = ("annotate", query_path, "--index", "trio", "--server", address)
    env.cellkin(*asked, "-o", "labels.csv", "-o", "copy.h5ad", "-o", "copy.zarr")
    assert (env.folder / "labels.csv").read_text().count("\n") == 61
    assert "cellkin-client[arrow]" in env.cellkin(*asked, "-o", "labels.parquet", code=2)
    env.python("import cellkin.client.tl")


def test_tables_and_pictures(environment: Make, query_path: Path, address: str) -> None:
    env = environment("cellkin-client[anndata,arrow,pandas,plot]")
    env.cellkin(
        "annotate", query_path, "--index", "trio", "--server", address, "-o", "labels.parquet"
    )
    env.python("import cellkin.client.pl")


def test_indexing(
    environment: Make, store_path: Path, reference_path: Path, tmp_path: Path
) -> None:
    env = environment("cellkin[cells,cpu]")
    env.lacks("torch", "transformers", "matplotlib", "scanpy", "structlog", "ray")
    store = shutil.copytree(store_path, tmp_path / "store")
    env.cellkin(
        "cells", "index", reference_path, "--store", store, "--name", "own", "--label", "cell_type",
        "--space", "text", "--embedding", "random-64-7",
    )  # fmt: skip
    refused = env.cellkin(
        "cells", "evaluate", reference_path, "--store", store, "--label", "cell_type",
        "--page", "page.html", code=2,
    )  # fmt: skip
    assert "cellkin[evaluate]" in refused
    assert "cellkin[layout]" in env.cellkin("cells", "layout", "own", "--store", store, code=2)


def test_corpora_and_embeddings(environment: Make, store_path: Path, tmp_path: Path) -> None:
    env = environment("cellkin")
    env.lacks("faiss", "anndata", "pandas", "sklearn", "torch", "grpc_reflection")
    store = shutil.copytree(store_path, tmp_path / "store")
    assert "genes@" in env.cellkin("corpora", "list", "--store", store)
    assert "random-64-7" in env.cellkin("embeddings", "list", "--store", store)
    env.cellkin("genes", "embed", "--store", store, "--model", "random:32:1")
    assert "cellkin[embed]" in env.cellkin("genes", "embed", "--store", store, code=2)


def test_a_language_model(environment: Make) -> None:
    env = environment("cellkin[embed]")
    env.lacks("faiss", "anndata", "matplotlib", "grpc_reflection")
    env.python(
        "from cellkin.indexer.models.registry import load_model\n"
        "model = load_model('all-minilm-l6-v2')\n"
        "assert model.embed(['a gene']).shape == (1, 384)"
    )


def test_a_faster_runtime(environment: Make) -> None:
    env = environment("cellkin[fast]")
    env.lacks("faiss", "anndata", "matplotlib", "grpc_reflection")
    env.python(
        "from cellkin.indexer.models.registry import load_model\n"
        "model = load_model('all-minilm-l6-v2')\n"
        "assert str(model.info.settings['runtime']).startswith('openvino')\n"
        "assert model.embed(['a gene']).shape == (1, 384)"
    )


def test_an_evaluation(environment: Make) -> None:
    env = environment("cellkin[cells,cpu,evaluate]")
    env.lacks("torch", "scanpy", "celltypist", "grpc_reflection")
    env.python(
        f"import sys; sys.path.append({str(ROOT)!r})\n"
        "import cellkin.indexer.evaluation.question\n"
        "from cellkin.indexer.evaluation.page import page\n"
        "from tests.unit.indexer.evaluation.cells import a_report\n"
        "assert '<svg' in page([a_report()])"
    )


def test_a_layout(environment: Make) -> None:
    env = environment("cellkin[cells,cpu,layout]")
    env.lacks("torch", "scanpy", "matplotlib")
    env.python("import cellkin.indexer.cells.layout, umap.umap_, sklearn.manifold")


def test_a_server(environment: Make, store_path: Path) -> None:
    env = environment("cellkin[cpu,server]")
    env.lacks("torch", "anndata", "pandas", "sklearn", "opentelemetry")
    with env.start("serve", "--store", store_path, "--listen", "127.0.0.1:0") as line:
        assert line.startswith("serving on ")
        assert "trio" in env.cellkin("status", "--server", line.split()[-1])


def test_a_quickstart(environment: Make, reference_path: Path, query_path: Path) -> None:
    env = environment("cellkin[cells,cpu,server]")
    env.lacks("torch", "matplotlib", "scanpy")
    env.cellkin("quickstart", reference_path, query_path, "--label", "cell_type")
    assert (env.folder / "cellkin-quickstart" / "report.html").exists()


def test_traces_ray_and_milvus(environment: Make) -> None:
    env = environment("cellkin[cells,cpu,milvus,ray,server,traces]")
    env.python(
        "from cellkin.server.traces import tracer_to\n"
        "_, shutdown = tracer_to('http://127.0.0.1:1/v1/traces'); shutdown()\n"
        "import cellkin.server.process, cellkin.store.milvus, cellkin.indexer.cells.ray_engine\n"
        "import pymilvus, milvus_lite, ray"
    )


def test_everything(environment: Make) -> None:
    env = environment("cellkin[all]")
    env.python("import cellkin.indexer.demo.run, cellkin.indexer.quickstart.run, cellkin.client.pl")


def test_peers(environment: Make) -> None:
    environment("cellkin[cells,cpu,evaluate,peers]").python("import celltypist, scanpy")
