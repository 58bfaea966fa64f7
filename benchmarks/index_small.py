"""What it takes to index a reference of 2,142 or 20,000 cells, beside an older build.

`cellkin cells index` is run by the commands of both builds in turns, one thread each. The reference
is the human pancreas; 20,000 cells are made of it, each of the molecules of two cells of a type and
donor. The text space has random gene vectors, which cost what others do. Labels are compared on
cells that neither build indexed: a donor of the pancreas, and other cells made as above.

`--base FOLDER` names the older build: a clone with a virtual environment of its own in `.venv`.
Without it only this build is measured.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import scipy.sparse as sp
from report import Figure, Timing, add_options, at_least, at_most, cpu_s, finish, machine, wall_s

from cellkin.indexer.cells.publish import Spaces
from cellkin.indexer.genes.own_names import NamedFile, own_names
from cellkin.indexer.spaces.novelty import nearest
from cellkin.space.classifier import neighbor_vectors
from cellkin.space.expression import ExpressionColumns, ExpressionSpace, place_expression
from cellkin.space.labels import read_labels
from cellkin.space.vectors import unit_rows
from cellkin.store.catalog import Kind
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.names import parse_version_name
from cellkin.wire.terms import TextRung

ROOT = Path(__file__).resolve().parents[1]
PANCREAS = ROOT.parent / "shared/data/cells/pancreas_human_baron.h5ad"
MODEL, DIM = "all-minilm-l6-v2", 384
MADE, N_ASKED = 20_000, 2_000
DONOR = "human4"
RATIO, EQUAL = 5, 0.995
# Differences taken for noise, by judgment: the first is about the standard error of the accuracy of
# 2,000 held-out cells; those of other seeds were not measured.
ACCURACY, ECE, AUROC, FOUND = 0.004, 0.004, 0.005, 0.02


@dataclass(frozen=True)
class Case:
    """Cells to index, in one space or both."""

    name: str
    cells: Path
    space: str
    quick: bool = False


@dataclass
class Build:
    """The command of a build."""

    name: str
    command: Path
    timings: list[Timing]

    def index(self, case: Case, store: Path) -> dict[str, Any]:
        """Index the cells; return the manifest of the version."""
        arguments = [
            str(self.command), "cells", "index", str(case.cells), "--store", str(store),
            "--name", "reference", "--label", "cell_type", "--batch", "donor", "--json",
            "--space", case.space, *(["--quick"] if case.quick else []),
        ]  # fmt: skip
        began = time.perf_counter()
        with (store.parent / "said").open("w+b") as said:
            job = subprocess.Popen(
                arguments, stdout=said, stderr=subprocess.DEVNULL,
                env=environment(self.name),
            )  # fmt: skip
            _, status, used = os.wait4(job.pid, 0)
            job.returncode = os.waitstatus_to_exitcode(status)
            if job.returncode:
                raise SystemExit(f"cells index of the {self.name} build ended: {job.returncode}")
            taken = used.ru_utime + used.ru_stime
            self.timings.append(Timing(time.perf_counter() - began, taken))
            said.seek(0)
            found: dict[str, Any] = json.load(said)
        return found


def environment(build: str) -> dict[str, str]:
    """Return the variables of a build's command; another build's packages are not its own."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" or build == "new"}
    return {**kept, "OMP_NUM_THREADS": "1"}


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="a clone of the older build")
    parser.add_argument("--rounds", type=int, default=3, help="how often each index is made")
    parser.add_argument("--cases", nargs="*", default=["small", "both", "large"],
                        choices=["small", "both", "large", "large-both"])  # fmt: skip
    add_options(parser)
    arguments = parser.parse_args()
    if not PANCREAS.is_file():
        print(f"skipped: the cells are not at {PANCREAS}")
        return 0
    commands = [("new", Path(sys.executable).parent / "cellkin")]
    if arguments.base:
        commands.append(("old", arguments.base / ".venv/bin/cellkin"))
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for case, asked in cases(Path(folder), arguments.cases):
            figures += measured(case, asked, commands, arguments.rounds)
    notes = [
        *machine("numpy", "scipy"),
        f"medians of {arguments.rounds} rounds in turns, after one that does not count; one "
        f"thread; load average {os.getloadavg()[0]:.1f} at the end",
    ]
    return finish(arguments, "index_small", "Indexing small references", notes, figures)


def cases(folder: Path, wanted: Sequence[str]) -> Iterator[tuple[Case, Path | None]]:
    """Yield what to index, and the cells to ask about where the index has not seen them."""
    whole = anndata.read_h5ad(PANCREAS)
    plain = anndata.AnnData(sp.csr_matrix(whole.X), whole.obs[["cell_type", "donor"]],
                            pd.DataFrame(index=whole.var_names))  # fmt: skip
    if "small" in wanted:
        yield Case("2,142 cells, expression", PANCREAS, "expression"), None
        known, asked = folder / "known.h5ad", folder / "asked.h5ad"
        left_out = plain.obs["donor"] == DONOR
        plain[~left_out].write_h5ad(known)
        plain[left_out].write_h5ad(asked)
        yield Case("three donors, expression", known, "expression"), asked
        yield Case("2,142 cells, expression, --quick", PANCREAS, "expression", True), None
    if "both" in wanted:
        yield Case("2,142 cells, both spaces", PANCREAS, "both"), None
    if "large" in wanted or "large-both" in wanted:
        made, asked = folder / "made.h5ad", folder / "made_asked.h5ad"
        mixed(plain, MADE, 0).write_h5ad(made)
        mixed(plain, N_ASKED, 1).write_h5ad(asked)
        if "large" in wanted:
            yield Case("20,000 cells, expression", made, "expression"), asked
        if "large-both" in wanted:
            yield Case("20,000 cells, both spaces", made, "both"), asked


def mixed(cells: anndata.AnnData, n: int, seed: int) -> anndata.AnnData:
    """Make cells, each of half of the molecules of two cells of one type and donor."""
    rng = np.random.default_rng(seed)
    kinds = cells.obs["cell_type"].astype(str) + cells.obs["donor"].astype(str)
    _, kind = np.unique(kinds, return_inverse=True)
    order = np.argsort(kind, kind="stable")
    sizes = np.bincount(kind)
    starts = np.cumsum(sizes) - sizes
    one = rng.integers(cells.n_obs, size=n)
    other = order[starts[kind[one]] + (rng.random(n) * sizes[kind[one]]).astype(int)]

    def half(rows: np.ndarray) -> sp.csr_matrix:
        taken = sp.csr_matrix(cells.X[rows])
        taken.data = rng.binomial(taken.data.astype(int), 0.5).astype(np.float32)
        return taken

    counts = sp.csr_matrix(half(one) + half(other))
    counts.eliminate_zeros()
    obs = cells.obs.iloc[one].set_axis([f"made{i}" for i in range(n)])
    return anndata.AnnData(counts, obs, cells.var)


def measured(
    case: Case, asked: Path | None, commands: Sequence[tuple[str, Path]], n_rounds: int
) -> Iterator[Figure]:
    """Index the cells by all builds in turns and yield what it took and what came of it."""
    if case.quick:
        commands = commands[:1]
    builds = [Build(name, command, []) for name, command in commands]
    found: dict[str, tuple[dict[str, Any], np.ndarray | None]] = {}
    for n_done in range(-1, n_rounds):
        for build in builds[:: 1 if n_done % 2 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                store = Path(folder) / "store"
                if case.space == "both":
                    with_vectors(case.cells, store)
                manifest = build.index(case, store)
                if n_done == 0:
                    answers = None if asked is None else winners(store, case.cells, asked)
                    found[build.name] = manifest, answers
        if n_done < 0:
            for build in builds:
                build.timings.clear()
    for build in builds:
        print(case.name, build.name, build.timings, flush=True)
        yield Figure(f"{case.name}: CPU, {build.name}", cpu_s(build.timings), "s")
        yield Figure(f"{case.name}: wall, {build.name}", wall_s(build.timings), "s")
    if len(builds) > 1:
        new, old = (build.timings for build in builds)
        yield ratio(case, "CPU", new, old, lambda timing: timing.cpu_s)
        yield ratio(case, "wall", new, old, lambda timing: timing.wall_s)
        yield from compared(case, found["new"], found["old"])


def ratio(
    case: Case, what: str, new: Sequence[Timing], old: Sequence[Timing],
    of: Callable[[Timing], float],
) -> Figure:  # fmt: skip
    """Return the median over rounds of old over new."""
    value = float(np.median([of(b) / of(a) for a, b in zip(new, old, strict=True)]))
    return at_least(f"{case.name}: {what}, old / new", value, "", RATIO)


def with_vectors(cells: Path, store: Path) -> None:
    """Make a store with the genes of a file and random vectors for them."""
    names = NamedFile.of("genes", list(anndata.read_h5ad(cells, backed="r").var_names))
    table = own_names([names], [9606])
    rungs = pa.array([int(TextRung.OWN_SUMMARY)] * len(table), table.schema.field("rung").type)
    table = table.set_column(table.schema.get_field_index("rung"), "rung", rungs)
    made = Store.create(str(store))
    corpus = made.publish_corpus("genes", table, {})
    ids = np.sort(table["gene_id"].to_numpy())
    vectors = unit_rows(np.random.default_rng(0).standard_normal((len(ids), DIM), np.float32))
    taxa = np.full(len(ids), 9606, np.int32)
    made.publish_embedding(
        MODEL,
        GeneEmbedding(ids, taxa, ["0" * 64] * len(ids), vectors),
        {"corpus": corpus.full_name},
    )


def winners(store: Path, known: Path, asked: Path) -> np.ndarray:
    """Label cells by the expression space of an index; return the names of the labels."""
    opened = Store.open(str(store))
    entry = opened.catalog.resolve(Kind.INDEX, parse_version_name("reference", "cell index"))
    spaces = Spaces.of(opened.index_folder(entry))
    space, classifier = spaces.expression, spaces.expression_classifier
    assert space is not None
    assert classifier is not None
    reference, queries = anndata.read_h5ad(known), anndata.read_h5ad(asked)
    names, labels = np.unique(reference.obs["cell_type"].astype(str), return_inverse=True)
    columns = ExpressionColumns.of(np.arange(queries.n_vars))
    same = named(opened, entry.manifest["corpus"], queries, space)
    reference, queries = reference[:, same], queries[:, same]
    own = place_expression(sp.csr_matrix(reference.X), columns, space)
    placed = place_expression(sp.csr_matrix(queries.X), columns, space)
    found = nearest(
        neighbor_vectors(placed.z, classifier.n_components),
        neighbor_vectors(own.z, classifier.n_components),
        classifier.n_neighbors,
    )
    voted = labels.astype(np.int32)[found[1]]
    return names[read_labels(placed, found[0], voted, np.bincount(labels), classifier).winners]


def named(store: Store, corpus: str, cells: anndata.AnnData, space: ExpressionSpace) -> np.ndarray:
    """Return the column of each gene of a space."""
    entry = store.catalog.version(Kind.CORPUS, parse_version_name(corpus, "corpus"))
    table = store.corpus(entry, ["gene_id", "symbol"]).to_pandas()
    symbols = table.set_index("gene_id")["symbol"].loc[space.gene_ids]
    return np.asarray(cells.var_names.get_indexer(symbols))


def compared(
    case: Case, new: tuple[dict[str, Any], np.ndarray | None],
    old: tuple[dict[str, Any], np.ndarray | None],
) -> Iterator[Figure]:  # fmt: skip
    """Compare the labels of two builds, and the figures that they give of their indexes."""
    if new[1] is not None and old[1] is not None:
        same = float((new[1] == old[1]).mean())
        yield at_least(f"{case.name}: same label", same, f"of {len(new[1])} cells", EQUAL)
    for space, one in new[0]["quality"].items():
        other = old[0]["quality"][space]
        for name, most in (("accuracy", ACCURACY), ("ece", ECE)):
            yield differing(f"{case.name}: {space}: held out, {name}", one[name], other[name], most)
        for name, most in (("auroc", AUROC), ("found", FOUND)):
            means = [float(np.mean([x[name] for x in q["left_out"]])) for q in (one, other)]
            title = f"{case.name}: {space}: left out, mean {name}"
            yield differing(title, means[0], means[1], most)


def differing(name: str, new: float, old: float, most: float) -> Figure:
    """Return the difference between two builds, with both values."""
    return at_most(name, abs(new - old), f"({new:.4f}, was {old:.4f})", most)


if __name__ == "__main__":
    sys.exit(main())
