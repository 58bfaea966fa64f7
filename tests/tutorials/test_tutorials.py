"""What the tutorials print is what they say."""

import os
import shutil
from pathlib import Path

import pytest
from tests.tutorials.practice_store import make_practice
from tests.tutorials.runner import (
    DATA,
    FIRST_PAGE,
    PAGES,
    REAL,
    commands,
    link_data,
    run_page,
    same,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tutorials") / "practice"
    make_practice(folder)
    return folder


def test_there_are_six() -> None:
    assert [page.name[0] for page in PAGES] == ["1", "2", "3", "4", "5", "6"]
    listed = (PAGES[0].parent / "README.md").read_text()
    assert all(f"({page.name})" in listed for page in PAGES)


@pytest.mark.parametrize(
    "page",
    [FIRST_PAGE, *(page for page in PAGES if page.stem not in REAL)],
    ids=lambda page: page.stem,
)
def test_a_tutorial_prints_what_it_says(
    page: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CELLKIN_ADDRESS", raising=False)
    monkeypatch.setenv("MPLBACKEND", "agg")
    folder = Path(shutil.copytree(made, tmp_path / "practice"))
    require_same(page, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem in REAL], ids=lambda page: page.stem
)
@pytest.mark.filterwarnings("ignore::cellkin.client.AnswerWarning")
def test_a_tutorial_on_real_cells_prints_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.environ.get(DATA)
    if data is None:
        pytest.skip(f"{DATA} names no folder of data; its files are in tests/tutorials/runner.py")
    monkeypatch.delenv("CELLKIN_ADDRESS", raising=False)
    monkeypatch.setenv("MPLBACKEND", "agg")
    link_data(page.stem, Path(data), tmp_path / "data")
    require_same(page, tmp_path / "data")


def require_same(page: Path, folder: Path) -> None:
    ran = run_page(page, folder)
    assert not ran.differences, "\n\n".join(ran.differences)
    assert "".join(map(str, ran.blocks)) == page.read_text()
    for picture in folder.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_another_output_is_found() -> None:
    assert same("pancreas@2026-11-26.1 done in ... s\n", "pancreas@2031-01-02.1 done in 7 s\n")
    assert not same("pancreas@2026-11-26.1\n", "pancreas@2026-11-26.2\n")
    assert not same("13 unknown\n", "12 unknown\n")
    block = "$ cellkin a \\\n  b\nc\n$ cellkin d\n"
    assert list(commands(block)) == [("cellkin a \\\n  b", "c\n"), ("cellkin d", "")]
