"""The page of `make bench`: tables, pictures, and how figures were in runs before.

    python benchmarks/bench_page.py

Reads the runs kept in .bench/ and writes .bench/bench.html for the newest of each form. Runs of
other machines are not compared.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from math import nan
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from runs import KEPT, heading

from cellkin.pages.drawing import SETTINGS, svg
from cellkin.pages.render import render
from cellkin.pages.theme import LIGHT

_TEMPLATE = Path(__file__).with_name("bench.html.j2")
_PAGE = KEPT / "bench.html"
_FEW = 2
"""Things that a picture is not drawn for."""
_TRENDS = 6
"""Lines in one picture of runs before."""
_VERDICTS = {True: "met", False: "MISSED", None: ""}
Run = dict[str, Any]


def kept_runs() -> list[Run]:
    """Return the runs that are kept, oldest first."""
    return [json.loads(path.read_text()) for path in sorted(KEPT.glob("bench-*.json"))]


def write_page(run: Run, runs: list[Run]) -> Path:
    """Write the page of a run.

    Parameters
    ----------
    run
        The run.
    runs
        All runs that are kept; those like it are compared with it.
    """
    like = [each for each in runs if _kind(each) == _kind(run) and each["at"] <= run["at"]]
    suites = [
        {
            "name": name,
            "note": suite["why"] or f"{suite['seconds']:.0f} s; beside {suite.get('beside', '')}",
            "drawings": list(_drawings(name, suite, like)),
            "rows": [
                (f["name"], f"{f['value']:.4g} {f['unit']}", f["target"] or "", _VERDICTS[f["met"]])
                for f in suite["figures"].values()
            ],
        }
        for name, suite in run["suites"].items()
    ]
    _PAGE.write_text(
        render(_TEMPLATE, run, about=heading(run).replace("\n", "; "), suites=suites),
        encoding="utf-8",
    )
    return _PAGE


def _kind(run: Run) -> tuple[str, bool]:
    """Return what has to be the same in two runs: the processor and the form."""
    return run["machine"].partition(", load")[0], run.get("full", False)


def _drawings(name: str, suite: Run, like: list[Run]) -> Iterator[tuple[str, str]]:
    figures = list(suite["figures"].values())
    targets = [f for f in figures if _aim(f)]
    with mpl.rc_context(SETTINGS):
        if targets:
            ratios = {f["name"]: _share(f) for f in targets}
            caption = "How far targets are reached; from 1 on they are met."
            yield svg(_bars(ratios, "share of the target", at=1.0), f"{name}-targets"), caption
        for number, (what, values) in enumerate(_beside(figures).items()):
            unit = next(f["unit"] for f in figures if f["name"].endswith(f": {what}"))
            yield svg(_bars(values, unit or "share"), f"{name}-{number}"), what
        if len(like) > 1 and targets:
            yield svg(_trends(name, targets, like), f"{name}-trend"), "Runs before, oldest first."


def _aim(figure: Run) -> float | None:
    """Return the target of a figure as a number."""
    words = str(figure["target"] or "").split()
    return float(words[1]) if len(words) > 1 and float(words[1]) else None


def _share(figure: Run) -> float:
    aim, value = _aim(figure) or 1.0, figure["value"] or 1e-9
    return float(value / aim if figure["target"].startswith(">=") else aim / value)


def _beside(figures: list[Run]) -> dict[str, dict[str, float]]:
    """Return the figures that several things have, such as the speed of two libraries."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for figure in figures:
        who, _, what = figure["name"].rpartition(": ")
        if who:
            found[what][who] = figure["value"]
    return {what: values for what, values in found.items() if len(values) > _FEW}


def _bars(values: dict[str, float], unit: str, at: float | None = None) -> Figure:
    figure = Figure(figsize=(6.4, 0.9 + 0.28 * len(values)), layout="tight")
    axes = figure.add_subplot()
    names = list(values)[::-1]
    sizes = [values[name] for name in names]
    met = [at is None or size >= at for size in sizes]
    axes.barh(names, sizes, color=[LIGHT["s1" if good else "warn"] for good in met], height=0.7)
    if at is not None:
        axes.axvline(at, color=LIGHT["ink"], linewidth=1)
    if min(sizes) > 0 and max(sizes) > 20 * min(sizes):
        axes.set_xscale("log")
    axes.set_xlabel(unit)
    axes.grid(axis="y", visible=False)
    return figure


def _trends(suite: str, targets: list[Run], like: list[Run]) -> Figure:
    figure = Figure(figsize=(6.4, 5.0), layout="tight")
    axes = figure.add_subplot()
    labels = [run["commit"] for run in like]
    for number, wanted in enumerate(targets[:_TRENDS]):
        before = [run["suites"].get(suite, {}).get("figures", {}) for run in like]
        shares = [_share(of[wanted["name"]]) if wanted["name"] in of else nan for of in before]
        color = LIGHT[f"c{number + 1}"]
        axes.plot(range(len(like)), shares, marker="o", color=color, label=wanted["name"])
    axes.axhline(1.0, color=LIGHT["ink"], linewidth=1)
    axes.set_xticks(range(len(like)), labels, rotation=45, ha="right")
    axes.set_ylabel("share of the target")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0.0, -0.3))
    return figure


def main() -> int:
    """Write the page of the newest run."""
    runs = kept_runs()
    if not runs:
        print("no run is kept; `make bench` makes one")
        return 1
    print(write_page(runs[-1], runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
