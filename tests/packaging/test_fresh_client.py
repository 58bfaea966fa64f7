"""The wheel of the client in an environment of its own, against a server in another one.

Needs a package index, so it is run by hand: make test-client
"""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.conftest import running_server
from tests.tutorials.practice_store import make_practice
from tests.tutorials.runner import PAGES, ROOT

pytestmark = pytest.mark.slow
UV = [str(Path(sys.executable).with_name("uv")), "--no-config", "-q"]
MOST_MB = 120
BY_HAND = """
import types, numpy as np
from cellkin.client import Client
from cellkin.wire.terms import ExpressionUnits
names = ["INS", "IAPP", "MAFA", "PDX1", "GCG", "TTR", "ARX", "SST", "HHEX", "PRSS1", "CPA1",
         "KRT19", "CFTR", "PECAM1", "VWF", "COL1A1", "DCN", "ACTB", "GAPDH", "B2M",
         "UBC", "PPIA", "NKX6-1"]
beta = {"INS", "IAPP", "MAFA", "PDX1", "NKX6-1"}
counts = np.array([9.0 if name in beta else 1.0 for name in names], np.float32)
cell = types.SimpleNamespace(format="csr", indptr=np.array([0, len(names)]),
                             indices=np.arange(len(names)), data=counts)
with Client() as client:
    found = client.predict_subtypes("pancreas", names, cell, units=ExpressionUnits.LINEAR)
    print(found.report.labels[found.predictions.winners[0]])
"""
RUN_PAGE = """
import sys
from pathlib import Path
from importlib.util import find_spec
from tests.tutorials.runner import run_page
assert find_spec("cellkin.store") is None, "the service is installed, too"
page = run_page(Path(sys.argv[1]), Path(sys.argv[2]))
sys.exit("\\n\\n".join(page.differences) or 0)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([*UV, "build", "--wheel", "--all-packages", "-o", folder], cwd=ROOT, check=True)
    (found,) = folder.glob("cellkin_client-*.whl")
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("served") / "practice"
    make_practice(folder)
    with running_server(folder / "store") as (address, _):
        yield address, folder


def megabytes(environment: Path) -> float:
    """Return what is in an environment, without what it was made with."""
    (packages,) = environment.glob("lib/python3*/site-packages")
    files = (file for file in packages.rglob("*") if file.is_file())
    own = sum(f.stat().st_size for f in files if f.relative_to(packages).parts[0] != "__pycache__")
    return own / 1e6


def install(environment: Path, what: str) -> None:
    subprocess.run([*UV, "pip", "install", "-p", environment / "bin" / "python", what], check=True)


def test_the_wheel_has_the_contract(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "cellkin/v1/descriptor_set.binpb" in names
    assert not [name for name in names if name.startswith(("cellkin/store", "cellkin/server"))]


def test_a_fresh_environment_labels_a_sample(
    wheel: Path, server: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address, folder = server
    environment = tmp_path / "fresh"
    subprocess.run([*UV, "venv", "--python", sys.executable, environment], check=True)

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            [environment / "bin" / arguments[0], *arguments[1:]],
            env={**os.environ, "CELLKIN_ADDRESS": address, "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    install(environment, str(wheel))
    light = megabytes(environment)
    assert light < MOST_MB
    assert json.loads(run("cellkin", "status", "--json"))["indexes"][0]["n_cells"] == 210
    near = json.loads(run("cellkin", "search", "genes", "INS", "-k", "1", "--json"))
    assert near["neighbors"][0][0]["symbol"] == "IAPP"
    assert run("python", "-c", BY_HAND) == "beta\n"
    install(environment, f"{wheel}[anndata]")
    run("python", "-c", RUN_PAGE, PAGES[0], folder)
    with capsys.disabled():
        sys.stdout.write(
            f"\ncellkin-client and what it needs: {light:.1f} MB; with [anndata]: "
            f"{megabytes(environment):.1f} MB\n"
        )
