"""Have files of many forms written by who writes them, label them, and read the copies there again.

A matrix of writers, each in an environment of its own, containers, and what a file may hold. Every
file is read and labeled by the client, beside the oldest and the newest AnnData that it supports,
and asked of a real server. The answers must be those to the same cells that never were in a file,
probabilities to 1e-6. Copies with the labels are read again by the libraries that wrote the file,
and must have all that was there and the labels. Each difference, refusal or crash is a failure.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from formats_cells import kind_of
from formats_environments import CLIENT, InstallError, make
from formats_forms import (
    CLIENTS,
    H5AD,
    H5ADS,
    H5MU,
    MODALITIES,
    TABLES,
    V8,
    V10,
    WRITERS,
    Environment,
    Form,
    forms,
)
from report import Figure, add_options, at_least, at_most, finish, machine

_HERE = Path(__file__).parent
_ROOT = _HERE.parent
_PRACTICE = _ROOT / "docs/tutorials/practice.py"
_ENVIRONMENTS = _ROOT / ".cache/formats"
_RIGHT = 0.85
"""Least share of the cells of known types whose winner is right: that the answers are answers."""
_MOST_S = 120.0
"""Longest time for the start of a process, and ten times that for a task in it."""


@dataclass
class Row:
    """What became of the files of a writer and a container, each counted once a client."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


# ---- processes ----------------------------------------------------------------------------------


def run(
    python: Path, script: str, tasks: Sequence[dict[str, Any]], place: Path
) -> dict[str, dict[str, Any]]:
    """Do tasks by another interpreter; one that ends the process has that for an error."""
    given, results = place / "tasks.json", place / "results.jsonl"
    results.unlink(missing_ok=True)
    done: dict[str, dict[str, Any]] = {}
    while left := [task for task in tasks if task["name"] not in done]:
        given.write_text(json.dumps(left))
        command = [python, "-W", "ignore", _HERE / script, given, results]
        said, n_before = "", len(done)
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_MOST_S * len(left),
            )  # fmt: skip
            lines = ended.stderr.strip().splitlines()
            said = f"the process ended with {ended.returncode}: {(lines or [''])[-1][:300]}"
        except subprocess.TimeoutExpired:
            said = "it did not end"
        lines = results.read_text().splitlines() if results.is_file() else []
        done |= {line["name"]: line for line in map(json.loads, lines)}
        remaining = [task for task in tasks if task["name"] not in done]
        if remaining:
            done[remaining[0]["name"]] = {"error": said}
            if len(done) == n_before + 1 and n_before == 0:  # nothing at all can be done there
                done |= {task["name"]: {"error": said} for task in remaining}
    return done


@contextmanager
def serving(store: Path) -> Iterator[str]:
    """Run a server in a process of its own and yield its address."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("cellkin"), "serve", "--store", store, "--listen",
         "127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CELLKIN_SERVER__GRACE_S": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("serving on "):
            raise RuntimeError(f"the server said {line!r}")
        yield line.removeprefix("serving on ").strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def make_cells(place: Path, practice: Path) -> Path:
    """Return a file of the cells that are asked about; the store of the tutorials is made first."""
    if not (practice / "store").is_dir():
        subprocess.run([sys.executable, _PRACTICE, practice], check=True, capture_output=True)
    import anndata

    sample = anndata.read_h5ad(practice / "sample.h5ad")
    path = place / "cells.npz"
    np.savez(
        path,
        counts=sample.X.toarray().astype(np.int64),
        cell_ids=sample.obs_names.to_numpy().astype("U"),
        genes=sample.var_names.to_numpy().astype("U"),
        types=sample.obs["cell_type"].to_numpy().astype("U"),
        donors=sample.obs["donor"].to_numpy().astype("U"),
    )
    return path


# ---- the matrix ---------------------------------------------------------------------------------


def targets(form: Form, folder: Path, number: int) -> list[str]:
    """Return the copies that are asked of a form: of its own container, and often another."""
    path = str(folder / f"{number}")
    if form.container == H5MU:
        return [path + ".h5mu", path + ".h5ad"]
    if form.container in (MODALITIES, TABLES):
        return [path + ".zarr", path + ".h5ad"]
    if form.container.startswith("zarr"):
        return [path + ".zarr"] + [path + ".h5ad"] * (form.matrix == "csr")
    plain = form.container == H5AD and form.matrix == "csr" and form.extra != "packed whole"
    # What AnnData of zarr 2 writes it could not read as zarr 3.
    new = form.writer not in (V8, V10, "scanpy 1.9")
    as_zarr = new and (plain or form.container not in H5ADS) and not form.many
    return [path + ".h5ad"] + [path + ".zarr"] * as_zarr


class Matrix:
    """The forms that are asked for, and what became of them."""

    def __init__(self, place: Path, say: Callable[[str], None]) -> None:
        self.place = place
        self.rows: dict[tuple[str, str], Row] = {}
        self.notes: list[str] = []
        self._say = say
        self._counting = threading.Lock()

    def row(self, form: Form) -> Row:
        """Return the row of a form."""
        return self.rows.setdefault((form.writer, form.container), Row())

    def fail(self, form: Form, what: str, error: str) -> None:
        """Count and print a failure."""
        line = f"{form.name}: {what}: {error.replace(str(self.place), '')}"
        self.row(form).failures.append(line)
        self._say(f"FAILED {line}")

    def of_writer(
        self, chosen: list[Form], python: Path, clients: dict[str, Path], asked: dict[str, Any]
    ) -> None:
        """Do all forms of one writer.

        Parameters
        ----------
        chosen
            The forms.
        python
            The interpreter that writes and checks.
        clients
            The interpreters that label.
        asked
            What every task has: ``address``, ``index`` and ``cells``.
        """
        with tempfile.TemporaryDirectory(dir=self.place) as name:
            folder = Path(name)
            tasks = [
                asked | {"name": form.name, "form": asdict(form),
                         "path": str(folder / f"{number}{form.suffix}")}
                for number, form in enumerate(chosen)
            ]  # fmt: skip
            written = run(python, "formats_writer.py", tasks, folder)
            readable = []
            for form, task in zip(chosen, tasks, strict=True):
                self.row(form).counts["files"] += 1
                if error := written[form.name].get("error"):
                    self.fail(form, "cannot be written", error)
                else:
                    readable.append((form, task))
            with ThreadPoolExecutor(len(clients)) as pool:
                running = [
                    pool.submit(self._by_client, readable, client, beside, python)
                    for client, beside in clients.items()
                ]
            for each in running:
                each.result()

    def _by_client(
        self, chosen: list[tuple[Form, dict[str, Any]]], client: str, beside: Path, python: Path
    ) -> None:
        """Have the files labeled by one client, and its copies read by who wrote the files."""
        answers = self.place / client
        answers.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.place) as name:
            copies = Path(name)
            tasks = [
                task | {"folder": str(answers), "targets": targets(form, copies, number)}
                for number, (form, task) in enumerate(chosen)
            ]
            labeled = run(beside, "formats_client.py", tasks, copies)
            checks, of_check = [], {}
            for form, task in chosen:
                for target in labeled[form.name].get("written", ()):
                    known = str(answers / f"{kind_of(form)}.npz")
                    checks.append(task | {"name": target, "target": target, "answers": known})
                    of_check[target] = form
            again = run(python, "formats_check.py", checks, copies)
        with self._counting:
            for form, _ in chosen:
                done, row = labeled[form.name], self.row(form)
                for what in ("read", "labeled"):
                    row.counts[what] += done.get(what, False)
                if error := done.get("error"):
                    self.fail(form, f"by the client beside {client}", error)
            for target, form in of_check.items():
                self.row(form).counts["copies"] += 1
                if error := again[target].get("error"):
                    what = f"the {Path(target).suffix} of the client beside {client}, read again"
                    self.fail(form, what, error)
                else:
                    self.row(form).counts["read again"] += 1

    def table(self) -> list[str]:
        """Return the rows of a table of Markdown."""
        names = ("files", "read", "labeled", "copies", "read again")
        lines = [
            "| writer | container | files | read | labeled | copies written | read again "
            "| failures |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for (writer, container), row in self.rows.items():
            counts = " | ".join(str(row.counts[name]) for name in names)
            lines.append(f"| {writer} | {container} | {counts} | {len(row.failures)} |")
        return lines

    def figures(self, n_clients: int) -> list[Figure]:
        """Return the totals."""
        total: Counter[str] = sum((row.counts for row in self.rows.values()), Counter())
        failures = [line for row in self.rows.values() for line in row.failures]
        asked = total["files"] * n_clients
        return [
            at_least("files of different forms", total["files"], "", 200),
            Figure("read, by all clients", total["read"], f"of {asked}"),
            Figure("labeled as cells that were in no file", total["labeled"], f"of {asked}"),
            Figure("copies read again by the writer", total["read again"], f"of {total['copies']}"),
            at_most("failures", len(failures), "", 0),
        ]


def agreement(place: Path, clients: Sequence[str], cells: Path) -> list[Figure]:
    """Return whether the answers that all else is compared with are right, and the same."""
    paths = [place / client / "few.npz" for client in clients]
    if not all(path.is_file() for path in paths):
        return []  # nothing was labeled
    held = [dict(np.load(path)) for path in paths]
    types = np.load(cells)["types"]
    known = types != "macrophage"  # the reference has none
    right = float((held[0]["winner"] == types)[known].mean())
    same = all(
        np.array_equal(one["winner"], held[0]["winner"])
        and np.allclose(one["winner_probability"], held[0]["winner_probability"], 0, 1e-6)
        for one in held
    )
    return [
        at_least("right winners, of cells whose type the reference has", right, "", _RIGHT),
        at_least("clients agree about cells in memory", float(same), "", 1),
    ]


def parsed() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser)
    parser.add_argument(
        "--environments", type=Path, default=_ENVIRONMENTS, metavar="DIR",
        help="where environments are made and kept (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORDS",
        help="forms whose name has these words; may be given again; docs are left as they are",
    )  # fmt: skip
    parser.add_argument("--client", choices=CLIENTS, action="append", help="these clients alone")
    parser.add_argument(
        "--practice", type=Path, metavar="DIR",
        help="the folder of docs/tutorials/practice.py, made unless it is there, and kept",
    )  # fmt: skip
    parser.add_argument("--failures", type=Path, metavar="FILE", help="write the failures here")
    arguments = parser.parse_args()
    arguments.no_docs |= bool(arguments.only or arguments.client)
    arguments.client = arguments.client or list(CLIENTS)
    return arguments


def do_all(
    matrix: Matrix, arguments: argparse.Namespace, say: Callable[[str], None]
) -> list[Figure]:
    """Make the environments, do the forms that are asked for, and return the totals."""

    def made(name: str, wanted: Environment, beside: Sequence[str] = ()) -> Path:
        return make(name, wanted, arguments.environments.absolute(), beside, say)

    chosen = [form for form in forms() if all(words in form.name for words in arguments.only)]
    clients = {name: made(f"client {name}", CLIENTS[name], CLIENT) for name in arguments.client}
    say("making the store")
    practice = arguments.practice or matrix.place / "practice"
    cells = make_cells(matrix.place, practice)
    missing = 0
    with serving(practice / "store") as address:
        asked = {"address": address, "index": "pancreas", "cells": str(cells)}
        for writer, wanted in WRITERS.items():
            of_writer = [form for form in chosen if form.writer == writer]
            if not of_writer:
                continue
            try:
                python = made(writer, wanted)
            except InstallError as error:
                matrix.notes.append(f"not installed, so not tried: {writer}: {error}")
                say(matrix.notes[-1])
                missing += 1
                continue
            say(f"{writer}: {len(of_writer)} files")
            matrix.of_writer(of_writer, python, clients, asked)
    return [
        *matrix.figures(len(clients)),
        at_most("writers that could not be installed", missing, "", 0),
        *agreement(matrix.place, arguments.client, cells),
    ]


def main() -> int:
    """Do the matrix, and report."""
    arguments, began = parsed(), time.perf_counter()
    notes = machine("anndata", "h5py", "zarr")

    def say(line: str) -> None:
        print(f"{time.perf_counter() - began:6.0f} s  {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="cellkin-formats-") as folder:
        matrix = Matrix(Path(folder), say)
        figures = do_all(matrix, arguments, say)
    if arguments.failures:
        lines = [line for row in matrix.rows.values() for line in row.failures]
        arguments.failures.write_text("".join(f"{line}\n" for line in lines))
    described = [
        f"{name} on Python {wanted.python} ({', '.join(wanted.packages)})"
        for name, wanted in WRITERS.items()
    ]
    notes += [
        "writers: " + "; ".join(described),
        f"clients: beside {' and beside '.join(arguments.client)}; a file counts once a client "
        f"where it is read and labeled; {time.perf_counter() - began:.0f} s",
        *matrix.notes,
    ]
    return finish(arguments, "formats", "Files", notes, figures, matrix.table())


if __name__ == "__main__":
    sys.exit(main())
