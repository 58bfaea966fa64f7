"""The cells every form of formats.py holds, and how interpreters of other environments are asked.

As formats_forms.py, read by all of them: numpy and scipy alone, and no Python above 3.10.
"""

import json
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from formats_forms import Form

N_TILES = 330
"""Copies of the cells in a form of many; together more than a million values."""
N_SHOWN = 60
"""Genes of X where the counts of all genes are in raw."""
ANTIBODIES = [f"CD{n}_TotalSeqB" for n in (3, 4, 8, 14, 19)]


class Cells:
    """Counts with names; several sets of them have answers of their own.

    Parameters
    ----------
    path
        An ``.npz`` with ``counts`` (n_cells, n_genes) int64, ``cell_ids``, ``genes``, ``types`` and
        ``donors``.
    kind
        What `kind_of` says of a form.

    Attributes
    ----------
    counts
        (n_cells, n_genes) CSR float64, without zeros.
    stored
        The same, of `many, zeros` with those that were set to zero in place: a third of all.
    cell_ids, genes, types, donors
        Lists of names.
    """

    def __init__(self, path: Path, kind: str) -> None:
        held = np.load(path)
        counts = sp.csr_matrix(held["counts"].astype(np.float64))
        n = 1 if kind == "few" else N_TILES
        self.counts = sp.vstack([counts] * n, format="csr")
        names = held["cell_ids"].tolist()
        self.cell_ids = names if n == 1 else [f"{name}-{at}" for at in range(n) for name in names]
        self.types: list[str] = held["types"].tolist() * n
        self.donors: list[str] = held["donors"].tolist() * n
        self.genes: list[str] = held["genes"].tolist()
        self.stored = self.counts
        if kind == "many, zeros":
            n = self.counts.shape[0]
            begin, end = self.counts.indptr[[n // 3, 2 * n // 3]]
            self.stored = self.counts.copy()
            self.stored.data[begin:end] = 0
            self.counts = self.stored.copy()
            self.counts.eliminate_zeros()


def kind_of(form: Form) -> str:
    """Return which set of cells a form has."""
    if not form.many:
        return "few"
    return "many, zeros" if form.extra == "zeros in place" else "many"


def logarithms(counts: sp.csr_matrix) -> sp.csr_matrix:
    """Return log1p of counts per 10,000, float32."""
    sums = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    scaled = sp.diags(1e4 / sums) @ counts
    return sp.csr_matrix(scaled.log1p(), dtype=np.float32)


def serve(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Do the tasks of a file one by one, and append what came of each to another.

    Called with a file of a list of tasks, each with its ``name``, and a file of lines of JSON to
    append to. A task that raises has an ``error``; one that ends the process has no line.
    """
    warnings.simplefilter("ignore")
    tasks, results = Path(sys.argv[1]), Path(sys.argv[2])
    for task in json.loads(tasks.read_text()):
        try:
            done = work(task)
        except Exception as error:  # noqa: BLE001  any of any library is a result
            done = {"error": _told(error)}
        with results.open("a") as file:
            file.write(json.dumps({"name": task["name"], **done}) + "\n")


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    places = [
        f"{Path(frame.filename).name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).parent != Path(__file__).parent
    ]
    where = f" ({places[-1]})" if places else ""
    return f"{type(error).__name__}: {text[:400]}{where}"
