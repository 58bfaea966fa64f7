"""Every line that README.md tells users to install by, in an environment of its own.

Needs a package index, so it is run by hand: make test-installs
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pandas as pd
import pytest
from tests.integration.conftest import running_server
from tests.packaging.test_fresh_client import UV, megabytes
from tests.tutorials.runner import ROOT

README = (ROOT / "README.md").read_text()
LINE = re.compile(r"^pip install (?P<what>.+?) +# (?P<kind>[a-z]+): ", re.MULTILINE)
LINES = {match["kind"]: match["what"].replace("'", "") for match in LINE.finditer(README)}


class Environment:
    """A fresh environment in which a line was installed."""

    def __init__(self, folder: Path, wheels: list[Path], what: str) -> None:
        self._bin = folder / "env" / "bin"
        self._work = folder / "work"
        self._work.mkdir()
        start_s = monotonic()
        subprocess.run([*UV, "venv", "--python", sys.executable, folder / "env"], check=True)
        # These wheels and no others of their names, whatever an index has.
        own = folder / "own.txt"
        own.write_text("".join(f"{w.name.split('-')[0]} @ {w.as_uri()}\n" for w in wheels))
        links = os.environ.get("PIP_FIND_LINKS", "").split()
        subprocess.run(
            [*UV, "pip", "install", "-p", self._bin / "python", "-c", own,
             "-c", ROOT / ".ci" / "constraints.txt",
             *(part for link in links for part in ("--find-links", link)), *what.split()],
            check=True,
        )  # fmt: skip
        self.seconds = monotonic() - start_s
        self.megabytes = megabytes(folder / "env")
        # Nothing of the environment that runs the tests.
        self.variables = {n: v for n, v in os.environ.items() if not n.startswith("PYTHON")}
        self.variables["XDG_CACHE_HOME"] = str(self._work / "cache")

    def run(self, *arguments: str | Path, code: int = 0, asked: str = "") -> str:
        """Run a command of the environment, asking a server; return what it prints anywhere."""
        done = subprocess.run(
            [self._bin / arguments[0], *arguments[1:]],
            cwd=self._work,
            env=self.variables | ({"CELLKIN_ADDRESS": asked} if asked else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def commands(self) -> set[str]:
        """Return the commands that `cellkin --help` lists, each of which answers to ``--help``."""
        listed = self.run("cellkin", "--help").partition("Commands:")[2].splitlines()
        names = {line.split()[0] for line in listed if line.strip()}
        for name in names:
            self.run("cellkin", name, "--help")
        return names


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([*UV, "build", "--wheel", "--all-packages", "-o", folder], cwd=ROOT, check=True)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def address(store_path: Path) -> Iterator[str]:
    with running_server(store_path) as (listening, _):
        yield listening


@pytest.fixture
def check(
    address: str, store_path: Path, reference_path: Path, query_path: Path
) -> dict[str, Callable[[Environment], None]]:
    """What each kind of user does, by kind."""

    def client(env: Environment) -> None:
        assert env.commands() == {
            "annotate", "corpora", "embeddings", "enrich", "explain", "explore", "genesets",
            "indexes", "mcp", "search", "status", "store", "subtypes",
        }  # fmt: skip
        asked = ("annotate", query_path, "--index", "trio", "-o")
        env.run("cellkin", *asked, "labels.csv", asked=address)
        table = pd.read_csv(env._work / "labels.csv")
        assert (table["winner"] == ["alpha", "beta", "delta"] * 20).mean() > 0.9
        assert "cellkin[cpu,server]" in env.run("cellkin", "serve", code=2)
        refused = env.run("cellkin", *asked, "labels.parquet", code=2, asked=address)
        assert "cellkin-client[arrow]" in refused

    def indexer(env: Environment) -> None:
        assert {"genes", "cells", "indexes"} < env.commands()
        env.run(
            "cellkin", "cells", "index", reference_path, "--store", "store", "--name", "own",
            "--label", "cell_type", "--batch", "donor", "--space", "expression",
        )  # fmt: skip
        told = json.loads(env.run("cellkin", "indexes", "list", "--store", "store", "--json"))
        assert [each["version"].partition("@")[0] for each in told] == ["own"]

    def server(env: Environment) -> None:
        assert {"serve", "status"} < env.commands()
        process = subprocess.Popen(
            [env._bin / "cellkin", "serve", "--store", store_path, "--listen", "127.0.0.1:0"],
            env=env.variables,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("serving on ")
            status = json.loads(
                env.run("cellkin", "status", "--server", said.split()[-1], "--json")
            )
            assert status["indexes"][0]["n_cells"] == 150
        finally:
            process.terminate()
            process.communicate(timeout=60)

    def own(env: Environment) -> None:
        env.commands()
        env.run("cellkin", "quickstart", reference_path, query_path, "--label", "cell_type")
        table = pd.read_csv(env._work / "cellkin-quickstart" / "labels.csv")
        assert (table["winner"] == ["alpha", "beta", "delta"] * 20).mean() > 0.9

    def everything(env: Environment) -> None:
        own(env)
        env.run("python", "-c", "import matplotlib, pyarrow, torch, transformers")

    return {"client": client, "indexer": indexer, "server": server, "own": own, "all": everything}


def test_every_kind_of_user_is_looked_after() -> None:
    assert list(LINES) == ["client", "own", "indexer", "server", "all"]
    assert README.index("pip install") < README.index("cellkin quickstart"), "what is read first"


@pytest.mark.slow
@pytest.mark.parametrize("kind", LINES)
def test_a_fresh_environment_does_what_the_line_says(
    kind: str,
    check: dict[str, Callable[[Environment], None]],
    wheels: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    env = Environment(tmp_path, wheels, LINES[kind])
    with capsys.disabled():
        sys.stdout.write(
            f"\n{kind}: pip install {LINES[kind]}: {env.megabytes:.0f} MB, {env.seconds:.0f} s\n"
        )
    check[kind](env)
