"""`make bench` runs scripts that exist, by options that they have, and draws what they measured."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="draws the page")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import bench
import bench_page

SCRIPTS = Path(bench.__file__).parent


def test_suites_are_scripts_with_these_options(tmp_path: Path) -> None:
    short = 0
    for name, suite in bench.SUITES.items():
        source = (SCRIPTS / f"{name}.py").read_text()
        assert "add_options(parser)" in source, name
        for full in (False, True):
            words = suite.words(name, full, tmp_path)
            asked = [word for word in words if word.startswith("--")]
            assert {*asked} <= {*re.findall(r'"(--[\w-]+)"', source)}, name
        short += bool(suite.short)
    assert short > 4


def test_a_script_that_another_commit_lacks_is_skipped(tmp_path: Path) -> None:
    found = bench.measure("peers", tmp_path, False)
    assert found["why"].startswith("skipped: ")
    assert not found["figures"]


def test_the_page_has_pictures_and_runs_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_page, "_PAGE", tmp_path / "bench.html")

    def figure(name: str, value: float, target: str | None = None) -> dict[str, Any]:
        return {
            "name": name,
            "value": value,
            "unit": "/s",
            "target": target,
            "met": target and True,
        }

    def run(commit: str, value: float, machine: str = "a") -> dict[str, Any]:
        figures = [figure("ours: rate", value, ">= 2")]
        figures += [figure(f"{name}: rate", 1.5) for name in ("FAISS", "Qdrant")]
        suite = {"figures": {f["name"]: f for f in figures}, "why": "", "seconds": 1, "beside": "b"}
        return {
            "commit": commit, "at": commit, "machine": machine, "versions": {"python": "3"},
            "suites": {"index": suite},
        }  # fmt: skip

    runs = [run("1111111", 2.5), run("2222222", 9, machine="b"), run("3333333", 3.5)]
    drawn = bench_page.write_page(runs[2], runs).read_text()
    assert drawn.count("<svg") == 3  # targets, three things that have a rate, and the trend
    assert "1111111" in drawn
    assert "2222222" not in drawn  # of another machine
    assert bench_page.write_page(runs[0], runs).read_text().count("<svg") == 2
