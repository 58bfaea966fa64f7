"""Options of ``cellkin cells index`` that contradict each other, and stores that are not there."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cellkin.indexer.commands.cells import cells
from cellkin.wire.errors import NotFoundError


def index(path: Path, *options: str) -> list[str]:
    where = ["--store", str(path / "store"), "--name", "a", "--label", "cell_type"]
    return ["index", str(path / "none.h5ad"), *where, *options]


@pytest.mark.parametrize(
    "option",
    [
        ("--embedding", "random:64:7"), ("--recipe", "text-v1"), ("--space", "text"),
        ("--corpus", "genes"), ("--false-alarms", "0.1"), ("--ontology", __file__),
    ],
)  # fmt: skip
def test_like_takes_no_option_of_a_space(tmp_path: Path, option: tuple[str, str]) -> None:
    done = CliRunner().invoke(cells, index(tmp_path, "--like", "trio", *option))
    assert done.exit_code == 2
    assert f"leave out {option[0]}" in done.stderr
    assert not (tmp_path / "store").exists()


def test_like_makes_no_store(tmp_path: Path) -> None:
    done = CliRunner().invoke(cells, index(tmp_path, "--like", "trio"))
    assert isinstance(done.exception, NotFoundError)
    assert not (tmp_path / "store").exists()
