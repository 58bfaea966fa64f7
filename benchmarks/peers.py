"""Label the cells of one file by another, beside CellTypist, ingest and logistic regression.

Each tool is one process, from two .h5ad files to labels in a file: `cellkin quickstart`, which also
calibrates, marks unknown cells, and writes a labeled copy, a page and the store, and the tools of
peers_others.py. The cells are made of those of three donors of the human pancreas, each of the
molecules of two cells of a type and donor; the queries likewise of a fourth donor. Accuracy counts
the most probable label, as the other tools never say unknown.

CellTypist needs an environment of its own, made by `make bench-peers` or by
`pip install "cellkin[peers]"`, whose interpreter `--python` names. A tool that takes longer than
`--limit-s` is ended.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from index_small import DONOR, PANCREAS, mixed
from report import Figure, add_options, finish, machine

from cellkin.indexer.measures import accuracy, confusion, macro_f1

COLUMN, BATCH = "cell_type", "donor"
SIZES = (2_000, 20_000, 100_000)
OURS = "cellkin"
OTHERS = ("CellTypist", "scanpy ingest", "logistic regression")
_BLOCK = 10_000
_PEERS = Path(__file__).resolve().parents[1] / ".venv-peers/bin/python"


@dataclass(frozen=True)
class Run:
    """What labeling took, and how good the labels are."""

    wall_s: float
    cpu_s: float
    peak_gib: float
    accuracy: float
    macro_f1: float


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES), metavar="CELLS")
    parser.add_argument("--tools", nargs="*", default=[OURS, *OTHERS], choices=[OURS, *OTHERS])
    python = _PEERS if _PEERS.exists() else sys.executable
    parser.add_argument("--python", default=str(python), help="interpreter of the other tools")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--limit-s", type=int, default=1800)
    add_options(parser)
    arguments = parser.parse_args()
    if not PANCREAS.is_file():
        print(f"skipped: the cells are not at {PANCREAS}")
        return 0
    notes = [
        *machine("numpy", "scipy"),
        f"medians of {arguments.rounds} rounds in turns; peak memory of the largest process",
    ]
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for n_cells in arguments.sizes:
            # In a process of its own: a command's peak memory begins with that of its parent.
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                reference, query = pool.submit(files, Path(folder), n_cells).result()
            runs: dict[str, list[Run]] = {tool: [] for tool in arguments.tools}
            for _ in range(arguments.rounds):
                for tool in list(runs):
                    try:
                        runs[tool].append(
                            labeled(tool, arguments.python, reference, query, arguments.limit_s)
                        )
                        print(f"{n_cells:,} cells, {tool}: {runs[tool][-1]}", flush=True)
                    except Failed as failed:
                        notes.append(f"{n_cells:,} cells, {tool}: {failed}")
                        print(notes[-1], flush=True)
                        del runs[tool]
            figures += compared(f"{n_cells:,} cells", runs)
    return finish(arguments, "peers", "From file to labels, beside other tools", notes, figures)


def files(folder: Path, n_cells: int) -> tuple[Path, Path]:
    """Write a reference and a query of as many cells."""
    whole = anndata.read_h5ad(PANCREAS)
    plain = anndata.AnnData(
        whole.X.tocsr(), whole.obs[[COLUMN, BATCH]], pd.DataFrame(index=whole.var_names)
    )
    asked = plain.obs[BATCH] == DONOR
    paths = folder / "reference.h5ad", folder / "query.h5ad"
    for seed, (path, rows) in enumerate(zip(paths, (~asked, asked), strict=True)):
        blocks = [
            mixed(plain[rows].copy(), min(_BLOCK, n_cells - start), seed * 1_000 + start // _BLOCK)
            for start in range(0, n_cells, _BLOCK)
        ]
        cells = anndata.concat(blocks)
        cells.obs_names = [f"made{i}" for i in range(n_cells)]
        cells.write_h5ad(path)
    return paths


class Failed(Exception):
    """A tool that ended without labels."""


def labeled(tool: str, python: str, reference: Path, query: Path, limit_s: int) -> Run:
    """Label the query by a tool in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        if tool == OURS:
            command = [
                str(Path(sys.executable).parent / "cellkin"), "quickstart", str(reference),
                str(query), "--label", COLUMN, "--batch", BATCH, "--out", str(out),
            ]  # fmt: skip
            table = out / "labels.csv"
        else:
            others = Path(__file__).with_name("peers_others.py")
            command = [python, str(others), tool, str(reference), str(query), COLUMN, str(out)]
            table = out
        wall_s, cpu_s, peak_gib = ended(command, Path(scratch) / "said", limit_s)
        found = pd.read_csv(table, dtype=str, keep_default_na=False)
        predicted = found["winner" if tool == OURS else "label"].to_numpy(str)
        truth = anndata.read_h5ad(query, backed="r").obs[COLUMN].to_numpy(str)
    names, codes = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    counts = confusion(
        codes[: len(truth)].astype(np.int32), codes[len(truth) :].astype(np.int32), len(names)
    )
    return Run(wall_s, cpu_s, peak_gib, float(accuracy(counts)), float(macro_f1(counts)))


def ended(command: Sequence[str], said: Path, limit_s: int) -> tuple[float, float, float]:
    """Run a command; return its seconds, its CPU seconds and its peak memory in GiB."""
    began = time.monotonic()
    with said.open("wb") as log:
        job = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while True:
            done, status, used = os.wait4(job.pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() - began > limit_s:
                job.terminate()
                os.wait4(job.pid, 0)
                job.returncode = -1
                raise Failed(f"ended after {limit_s} s without labels")
            time.sleep(0.05)
    job.returncode = os.waitstatus_to_exitcode(status)
    if job.returncode:
        lines = said.read_text(errors="replace").strip().splitlines() or ["nothing said"]
        raise Failed(f"ended with {job.returncode}: {lines[-1][:200]}")
    taken = used.ru_utime + used.ru_stime
    return time.monotonic() - began, taken, used.ru_maxrss / 2**20


def compared(size: str, runs: dict[str, list[Run]]) -> Iterator[Figure]:
    """Yield the figures of each tool; ours should take less wall time than each other."""
    middle = {
        tool: Run(*np.median([astuple(run) for run in some], axis=0).tolist())
        for tool, some in runs.items()
    }
    others = [run.wall_s for tool, run in middle.items() if tool != OURS]
    for tool, run in middle.items():
        limit = min(others) if tool == OURS and others else None
        yield Figure(
            f"{size}, {tool}: wall", run.wall_s, "s",
            None if limit is None else f"< {limit:.4g}",
            None if limit is None else run.wall_s < limit,
        )  # fmt: skip
        yield Figure(f"{size}, {tool}: CPU", run.cpu_s, "s")
        yield Figure(f"{size}, {tool}: peak memory", run.peak_gib, "GiB")
        yield Figure(f"{size}, {tool}: accuracy", run.accuracy, "")
        yield Figure(f"{size}, {tool}: macro-F1", run.macro_f1, "")


if __name__ == "__main__":
    sys.exit(main())
