"""Run the benchmarks beside what else one would use, in a short form or whole, and keep them.

    python benchmarks/bench.py [--full] [--suite NAME ...]
    python benchmarks/bench.py --base COMMIT [--suite NAME ...]

Each suite is a script beside this one, which measures cellkin and its alternatives in one run. The
short form takes less than ten minutes on two quiet cores. With ``--base`` the scripts and packages
of another commit are measured too, suite by suite in turn. A suite that does not end is an error; a
target that is missed in the short form is not.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_page import kept_runs, write_page
from runs import KEPT, ROOT, about, commit_of, heading, keep, run_shown

_PACKAGES = ("store", "indexer", "server", "clients/python", "clients/cli")
_PEERS = ROOT / ".venv-peers/bin/python"
"""The environment of CellTypist, which needs another scikit-learn; made by `make bench`."""
_LIMIT_S = 3600.0
_FULL_LIMIT_S = 6 * 3600.0


@dataclass(frozen=True)
class Suite:
    """A script, what it is set beside, and the words of its short form."""

    beside: str
    short: tuple[str, ...] = ()
    """Empty if the suite is part of the whole form only."""

    def words(self, name: str, full: bool, scratch: Path) -> list[str]:
        """Return the words of the short or the whole form."""
        words = [] if full else [*self.short]
        if name == "serve":  # a store of another commit may be of another format
            words += ["--store", str(scratch / "serve")]
        if name == "peers" and _PEERS.exists():
            words += ["--python", str(_PEERS)]
        return words


SUITES = {
    "peers": Suite("CellTypist, scanpy ingest, logistic regression", ("--sizes", "2000")),
    "index": Suite("bare FAISS, hnswlib, USearch, LanceDB, Milvus Lite, Qdrant", ("--n", "6000")),
    "embed": Suite("sentence-transformers, ONNX Runtime",
                   ("--texts", "48", "--rounds", "1", "--threads", "1")),
    "serve": Suite("bare gRPC, Milvus Lite",
                   ("--cells", "20000", "--seconds", "0.3", "--overload-s", "3")),
    "job": Suite("anndata's own reading", ("--cells", "16384", "--rounds", "1")),
    "one_cell": Suite("scikit-learn in the process", ("--requests", "150", "--rounds", "1")),
    "project": Suite("numpy, scipy"),
    "growth": Suite("itself at other sizes"),
    "annotate": Suite("PCA-kNN, prototypes, logistic regression"),
    "annotate_client": Suite("the bare stub"),
    "heads": Suite("no head, random and permuted vectors"),
    "small": Suite("as many or all genes, molecules and cells"),
    "genes": Suite("permuted vectors, symbols alone, other embeddings"),
    "contrast": Suite("scanpy's Wilcoxon test, permuted labels"),
    "layout": Suite("umap-learn's transform"),
    "formats": Suite("the libraries that write files of cells"),
    "index_small": Suite("an older build, if one is named"),
    "busy": Suite("itself on a quiet machine"),
}  # fmt: skip
Figures = dict[str, dict[str, Any]]
Measured = dict[str, Any]


def measure(name: str, tree: Path, full: bool) -> Measured:
    """Run a suite of a tree; return its figures by name, its seconds, and why there are none."""
    began, cpu_s = time.monotonic(), _cpu_s()
    script = tree / "benchmarks" / f"{name}.py"
    if not script.exists():
        return _nothing(name, f"skipped: {commit_of(tree)} has no {script.name}")
    paths = [str(tree / package) for package in _PACKAGES]
    with tempfile.TemporaryDirectory() as scratch:
        found = Path(scratch) / "figures.json"
        words = SUITES[name].words(name, full, Path(scratch))
        code, output = run_shown(
            [sys.executable, "-u", str(script), *words, "--no-docs", "--json", str(found)],
            _FULL_LIMIT_S if full else _LIMIT_S,
            {**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        figures = json.loads(found.read_text()) if found.exists() else []
    last = output.strip().splitlines()[-1] if output.strip() else "nothing was said"
    why = "" if figures and code == 0 else last if code == 0 else f"exit {code}: {last}"
    return _nothing(name, why) | {
        "figures": {each["name"]: each for each in figures},
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(_cpu_s() - cpu_s, 1),
    }


def _nothing(name: str, why: str) -> Measured:
    return {
        "beside": SUITES[name].beside, "figures": {}, "seconds": 0.0, "cpu_seconds": 0.0,
        "why": why,
    }  # fmt: skip


def _cpu_s() -> float:
    """Return the CPU time of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tree_of(commit: str) -> Path:
    """Check a commit out beside the results, and return its folder."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", f"{commit}^{{commit}}"]
    short = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    tree = KEPT / "trees" / short
    # The scripts look for data beside their tree.
    data, link = ROOT.parent / "shared", KEPT / "trees/shared"
    if data.exists() and not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(data)
    if not tree.exists():
        command = ["git", "-C", str(ROOT), "worktree", "add", "--detach", str(tree), short]
        subprocess.run(command, check=True)
    return tree


def _text(figure: dict[str, Any] | None) -> str:
    return f"{figure['value']:.4g} {figure['unit']}".rstrip() if figure else ""


def table(suites: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table of one run."""
    lines = ["| suite | figure | value | target | |", "| --- | --- | --- | --- | --- |"]
    verdicts = {True: "met", False: "MISSED", None: ""}
    for name, suite in suites.items():
        if suite["why"]:
            lines.append(f"| {name} | {suite['why']} | | | |")
        for figure in suite["figures"].values():
            target, met = figure["target"] or "", verdicts[figure["met"]]
            lines.append(f"| {name} | {figure['name']} | {_text(figure)} | {target} | {met} |")
    return lines


def compared(suites: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table of two commits."""
    lines = ["| suite | figure | base | now | now / base |", "| --- | --- | --- | --- | --- |"]
    for name, suite in suites.items():
        was, now = suite["base"], suite["figures"]
        for figure in dict.fromkeys([*was, *now]):
            a, b = was.get(figure), now.get(figure)
            ratio = f"{b['value'] / a['value']:.3f}" if a and b and a["value"] else ""
            lines.append(f"| {name} | {figure} | {_text(a)} | {_text(b)} | {ratio} |")
    return lines


def main() -> int:
    """Run the suites, print the table and return 1 where a suite did not end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", action="append", choices=list(SUITES), help="these alone")
    parser.add_argument("--full", action="store_true", help="the whole form, of hours")
    parser.add_argument("--base", metavar="COMMIT", help="measure this commit too, in turn")
    arguments = parser.parse_args()
    KEPT.mkdir(exist_ok=True)
    base = tree_of(arguments.base) if arguments.base else None
    try:
        return _run(arguments, base)
    finally:
        if base is not None:
            command = ["git", "-C", str(ROOT), "worktree", "remove", "--force", str(base)]
            subprocess.run(command, check=False)


def _run(arguments: argparse.Namespace, base: Path | None) -> int:
    kept, suites = about() | {"full": arguments.full}, dict[str, Measured]()
    short = [name for name, suite in SUITES.items() if suite.short]
    for number, name in enumerate(arguments.suite or (SUITES if arguments.full else short)):
        print(f"{name}, beside {SUITES[name].beside}", flush=True)
        # Each other suite the other way round, so that what else the machine does meets both.
        trees = [tree for tree in (base, ROOT) if tree is not None][:: -1 if number % 2 else 1]
        runs = {tree: measure(name, tree, arguments.full) for tree in trees}
        suites[name] = found = runs[ROOT]
        if base is not None:
            found |= {"base": runs[base]["figures"], "why": found["why"] or runs[base]["why"]}
    kept["suites"] = suites
    if base is not None:
        kept["base"] = commit_of(base)
    path = keep("compare" if base is not None else "bench", kept)
    lines = compared(suites) if base is not None else table(suites)
    print(f"\n{heading(kept)}\n" + (f"base {kept['base']}\n" if base is not None else ""))
    print("\n".join(lines))
    spent = (f"{name} {s['seconds']:.0f} ({s['cpu_seconds']:.0f})" for name, s in suites.items())
    print(f"seconds (of CPU): {', '.join(spent)}\nkept as {path}")
    if base is None:
        print(f"page: {write_page(kept, kept_runs())}")
    failed = [name for name, s in suites.items() if s["why"] and not s["why"].startswith("skipped")]
    print(f"{len(suites) - len(failed)} suites ended, {len(failed)} did not: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
