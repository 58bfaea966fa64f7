"""Index the pancreas on a quiet machine, and beside as many busy processes as it has cores.

Beside it a process of one thread is given two thirds of a core at worst, by a fair system: half as
long again. What takes far longer waits for threads of its own that were not given a core. Where the
machine has other work, the quiet time is none; CPU seconds tell waiting by spinning all the same.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from report import Figure, Timing, add_options, at_most, finish, machine, timed
from threadpoolctl import threadpool_limits

from cellkin.store.machine import n_cores

_CELLS = Path(__file__).resolve().parents[2] / "shared/data/cells/pancreas_human_baron.h5ad"
_COMMAND = Path(sys.executable).parent / "cellkin"
_SPIN = "while True: pass"
_PRODUCTS, _SIDE = 300, 400


def main() -> int:
    """Measure, report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser)
    arguments = parser.parse_args()
    if not _CELLS.is_file():
        print(f"skipped: {_CELLS} is not there")
        return 0
    index()  # compiles what is compiled once
    quiet = index()
    with busy(n_cores()):
        beside = index()
        one, several = products(1), products(max(2, n_cores()))
    figures = [
        Figure("cells index, alone", quiet.wall_s, "s"),
        Figure("cells index, alone: CPU time", quiet.cpu_s, "s"),
        Figure("cells index, beside: CPU time", beside.cpu_s, "s"),
        at_most("cells index, beside against alone", beside.wall_s / quiet.wall_s, "x", 3),
        at_most("the same by CPU time", beside.cpu_s / quiet.cpu_s, "x", 1.5),
        Figure("small products beside, threads against one", several.wall_s / one.wall_s, "x"),
        Figure("the same by CPU time", several.cpu_s / one.cpu_s, "x"),
    ]
    notes = [
        *machine("numpy", "faiss-cpu", "scikit-learn"),
        f"2,142 cells of 20,125 genes, by expression; {n_cores()} busy processes beside; "
        f"{_PRODUCTS} products of {_SIDE} x {_SIDE} float32",
    ]
    return finish(arguments, "busy", "A job on a busy machine", notes, figures)


def index() -> Timing:
    """Index the cells by the command; return what it took."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        arguments = [
            str(_COMMAND), "cells", "index", str(_CELLS), "--store", f"{folder}/store",
            "--name", "pancreas", "--label", "cell_type", "--batch", "donor",
            "--space", "expression",
        ]  # fmt: skip
        job = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(job.pid, 0)
        job.returncode = os.waitstatus_to_exitcode(status)
        if job.returncode:
            raise SystemExit(f"cells index ended with {job.returncode}")
        return Timing(time.perf_counter() - began, used.ru_utime + used.ru_stime)


def products(n_threads: int) -> Timing:
    """Multiply small matrices one after the other."""
    values = np.random.default_rng(0).random((_SIDE, _SIDE), np.float32)

    def multiply() -> None:
        for _ in range(_PRODUCTS):
            values @ values

    with threadpool_limits(n_threads, "blas"):
        multiply()
        return timed(multiply)


@contextmanager
def busy(n: int) -> Iterator[None]:
    """Keep so many cores busy while the block runs."""
    processes = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
