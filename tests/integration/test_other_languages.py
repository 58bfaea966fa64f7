"""The sections of docs/other-languages.md, each where its tools are there.

Node's packages come from the npm registry, so all is run by hand:
pytest -m slow tests/integration/test_other_languages.py
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.conftest import running_server
from tests.tutorials.practice_store import make_practice
from tests.tutorials.runner import ROOT

from cellkin.wire.protos import descriptor_set_path, service_config_path

pytestmark = [pytest.mark.slow, pytest.mark.integration]
PAGE = (ROOT / "docs" / "other-languages.md").read_text()
NEAREST = ["IAPP 0.49", "G6PC2 0.37", "MAFA 0.34"]
GO_SOURCES = Path("/usr/share/gocode")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with the practice data and the descriptor set, and the address of a server."""
    folder = tmp_path_factory.mktemp("languages") / "practice"
    make_practice(folder)
    shutil.copy(descriptor_set_path(), folder / "cellkin.binpb")
    shutil.copy(service_config_path(), folder)
    (folder / "protos").symlink_to(ROOT / "protos")
    with running_server(folder / "store") as (address, _):
        yield folder, address


def code(section: str, language: str, address: str) -> str:
    """Return the code of a section of the page, for a server at an address."""
    body = re.split(r"^## ", PAGE.partition(f"\n## {section}\n")[2], flags=re.MULTILINE)[0]
    blocks = re.findall(rf"^```{language}\n(.*?)^```", body, re.MULTILINE | re.DOTALL)
    assert blocks, section
    return "\n".join(blocks).replace("127.0.0.1:50051", address)


def run(folder: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": f"{ROOT / '.venv-protos/bin'}:{os.environ['PATH']}"}
        | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def need(*tools: str) -> None:
    path = f"{ROOT / '.venv-protos/bin'}:{os.environ['PATH']}"
    for tool in tools:
        if shutil.which(tool, path=path) is None:
            pytest.skip(f"{tool} is not installed")


@pytest.mark.parametrize(("tool", "block"), [("grpcurl", 0), ("buf", 1)])
def test_a_command_line_asks(tool: str, block: int, place: tuple[Path, str]) -> None:
    need(tool)
    folder, address = place
    body = code("Command line", "sh", address)
    cut = body.index("buf curl")
    said = run(folder, "bash", "-ec", (body[:cut], body[cut:])[block])
    assert '"symbol": "IAPP"' in said
    assert '"similarity": 0.49' in said


def test_node_asks_and_streams(place: tuple[Path, str]) -> None:
    need("node", "npm")
    folder, address = place
    run(folder, "npm", "install", "--silent", "@grpc/grpc-js", "@grpc/proto-loader")
    (folder / "ask.js").write_text(code("Node.js", "js", address))
    said = run(folder, "node", "ask.js").splitlines()
    assert [line for line in said if line in NEAREST] == NEAREST
    assert "5 no gene of human is called 'nope' in this corpus" in said
    assert "the cell is unknown, at most beta" in said
    assert any(line.startswith("warning: the query's genes have 28.0%") for line in said)
    # Many cells in blocks; of the practice data's own genes no background is asked for.
    many = (
        "[names.map((_, i) => (i < 5 ? 9 : 1))];",
        "Array.from({ length: 2050 }, (_, j) => names.map((_, i) => 1 + ((i * 7 + j) % 9)));",
    )
    body = code("Node.js", "js", address)
    assert many[0] in body
    (folder / "many.js").write_text(body.replace(*many))
    said = run(folder, "node", "many.js").splitlines()
    assert len([line for line in said if line.startswith("the cell is")]) == 2050


def test_r_asks_by_python(place: tuple[Path, str]) -> None:
    need("Rscript")
    folder, address = place
    script = code("R with Python", "r", address)
    said = run(folder, "Rscript", "-e", script, PYTHON_OF_CELLKIN=sys.executable)
    assert [line.strip() for line in said.splitlines()][:3] == NEAREST
    assert "unknown" in said


def test_r_asks_by_itself(place: tuple[Path, str]) -> None:
    need("Rscript")
    folder, address = place
    said = run(folder, "Rscript", "-e", code("R without Python", "r", address))
    assert [line.strip() for line in said.splitlines()][-3:] == NEAREST


def test_go_asks(place: tuple[Path, str]) -> None:
    need("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc")
    if not (GO_SOURCES / "src/google.golang.org/grpc").exists():
        pytest.skip("Debian's golang-google-grpc-dev is not installed")
    folder, address = place
    (folder / "src" / "example" / "genes").mkdir(parents=True)
    run(folder, "bash", "-ec", code("Go", "sh", address))
    (folder / "src/example/genes/main.go").write_text(code("Go", "go", address))
    settings = {"GO111MODULE": "off", "GOPATH": f"{folder}:{GO_SOURCES}", "GOFLAGS": "-p=1"}
    run(folder, "go", "build", "-o", "ask", "example/genes", GOCACHE=str(folder / "c"), **settings)
    assert [" ".join(line.split()) for line in run(folder, "./ask").splitlines()] == NEAREST
