"""What the benchmarks share: figures and their targets, fair timing, and where results go."""

import argparse
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_DOCUMENT = Path(__file__).resolve().parents[1] / "docs/benchmarks.md"
_HEADING = "# Benchmarks\n\nWritten by the scripts in `benchmarks/`, never by hand.\n"
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")


@dataclass(frozen=True)
class Figure:
    """One measured figure; ``met`` is None where there is no target."""

    name: str
    value: float
    unit: str
    target: str | None = None
    met: bool | None = None


def at_least(name: str, value: float, unit: str, target: float) -> Figure:
    """Return a figure that should be no lower than its target."""
    return Figure(name, value, unit, f">= {target:g}", bool(value >= target))


def at_most(name: str, value: float, unit: str, target: float) -> Figure:
    """Return a figure that should be no higher than its target."""
    return Figure(name, value, unit, f"<= {target:g}", bool(value <= target))


@dataclass(frozen=True)
class Timing:
    """What one run took: of the clock, and of this process's CPUs."""

    wall_s: float
    cpu_s: float


def timed(work: Callable[[], object]) -> Timing:
    """Run something and say what it took."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return Timing(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def interleaved(
    ways: dict[str, Callable[[], object]], n_rounds: int, n_warm: int = 1
) -> dict[str, list[Timing]]:
    """Time several ways in turns, so that what else the machine does meets all of them.

    Every other round runs the other way round; the first ``n_warm`` rounds do not count.
    """
    timings: dict[str, list[Timing]] = {name: [] for name in ways}
    for n_done in range(-n_warm, n_rounds):
        names = list(ways) if n_done % 2 == 0 else list(reversed(ways))
        for name in names:
            timing = timed(ways[name])
            if n_done >= 0:
                timings[name].append(timing)
    return timings


def wall_s(timings: Iterable[Timing]) -> float:
    """Return the median wall time."""
    return statistics.median(timing.wall_s for timing in timings)


def cpu_s(timings: Iterable[Timing]) -> float:
    """Return the median CPU time."""
    return statistics.median(timing.cpu_s for timing in timings)


def speedup(slow: Sequence[Timing], fast: Sequence[Timing]) -> float:
    """Return how often faster: the median of the rounds' own ratios of wall time."""
    return statistics.median(a.wall_s / b.wall_s for a, b in zip(slow, fast, strict=True))


def cpu_speedup(slow: Sequence[Timing], fast: Sequence[Timing]) -> float:
    """Return how often cheaper: the median of the rounds' own ratios of CPU time."""
    return statistics.median(a.cpu_s / b.cpu_s for a, b in zip(slow, fast, strict=True))


def cpu_features() -> list[str]:
    """Return which of the instruction sets that matter here the CPU has."""
    flags = set(_cpuinfo("flags").split())
    return [name for name in _FEATURES if name in flags]


def machine(*packages: str) -> list[str]:
    """Return lines that name the machine, how busy it is, and the versions of packages."""
    name = _cpuinfo("model name") or platform.processor() or platform.machine()
    features = ", ".join(cpu_features()) or "instruction sets unknown"
    load = f", load average {os.getloadavg()[0]:.1f} at the start" if os.name == "posix" else ""
    installed = {package: found for package in packages if (found := installed_version(package))}
    versions = ", ".join(f"{package} {found}" for package, found in installed.items())
    return [
        f"{name}, {os.cpu_count()} CPUs, {features}{load}",
        f"Python {platform.python_version()}" + (f", {versions}" if versions else ""),
    ]


def installed_version(package: str) -> str:
    """Return the version of a package, empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _cpuinfo(key: str) -> str:
    """Return a field of the first CPU, or nothing on systems that do not say."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = re.search(rf"^{key}\s*:\s*(.*)$", text, re.M)
    return found.group(1) if found else ""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options every benchmark has."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument(
        "--no-docs", action="store_true", help="leave this subject's part of the document"
    )


def finish(
    arguments: argparse.Namespace,
    subject: str,
    title: str,
    notes: Sequence[str],
    figures: Sequence[Figure],
    table: Sequence[str] = (),
    document: Path = _DOCUMENT,
) -> int:
    """Print the figures, write them where they were asked for, and return the exit status.

    Parameters
    ----------
    arguments
        With the options of `add_options`.
    subject
        Name of the script, which marks its part of the document.
    title
        Heading of that part.
    notes
        Lines above the figures: the machine, the data, what was skipped and why.
    figures
        What was measured.
    table
        Lines of a table of Markdown above the figures, where they are not all that is to be seen.
    document
        The document with that part.
    """
    for line in (*notes, *table):
        print(line)
    for figure in figures:
        target = f"  target {figure.target}: {_verdict(figure)}" if figure.target else ""
        print(f"{figure.name:58s} {figure.value:10.4g} {figure.unit}{target}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    if not arguments.no_docs:
        write_section(subject, title, notes, figures, table, document)
    n_missed = sum(figure.met is False for figure in figures)
    print(f"{sum(figure.met is True for figure in figures)} met, {n_missed} missed")
    return int(arguments.strict and n_missed > 0)


def write_section(
    subject: str,
    title: str,
    notes: Sequence[str],
    figures: Sequence[Figure],
    table: Sequence[str] = (),
    document: Path = _DOCUMENT,
) -> None:
    """Replace a subject's part of the document, or add it at the end."""
    begin, end = f"<!-- begin {subject} -->", f"<!-- end {subject} -->"
    rows = [
        f"| {figure.name} | {figure.value:.4g} {figure.unit}".rstrip()
        + f" | {figure.target or ''} | {_verdict(figure)} |"
        for figure in figures
    ]
    held = ["| figure | value | target | |", "| --- | --- | --- | --- |", *rows] if rows else []
    above = [*table, ""] if table else []
    lines = [begin, f"## {title}", "", *(f"- {note}" for note in notes), "", *above, *held, end]
    section = "\n".join(lines)
    text = document.read_text(encoding="utf-8") if document.is_file() else _HEADING
    before, found, rest = text.partition(begin)
    text = before + section + rest.partition(end)[2] if found else f"{text}\n{section}\n"
    document.write_text(text, encoding="utf-8")


def _verdict(figure: Figure) -> str:
    return {True: "met", False: "MISSED", None: ""}[figure.met]
