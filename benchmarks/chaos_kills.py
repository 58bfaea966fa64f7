"""Kill processes that publish, move aliases and write outputs; what they leave is whole.

    python benchmarks/chaos_kills.py [--trials 100] [--seed 1]

A third of the trials each: a process that publishes indexes and corpora, one that moves an alias
to and fro, one that writes labels beside cells over an output that is there. Each is killed by
SIGKILL at a random moment. After it the store has every version that was acknowledged, whole, the
alias means one of the two versions and the retraction stands; the output is the old or a new one,
whole.
"""

import argparse
import collections
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

import anndata
import numpy as np
from chaos_fork import Fork
from chaos_gc import content
from chaos_report import report
from chaos_world import cells, corpus_table

from cellkin.store.catalog import Kind
from cellkin.store.maintenance import damage
from cellkin.store.store import Store

_WORKS = ("publish", "alias", "output")
_FAULTS = (
    "versions lost", "versions damaged", "aliases of no one", "retractions lost",
    "outputs not whole", "problems of the catalog", "processes that failed",
)  # fmt: skip
_N_CELLS = 60


def work(what: str, place: Path, seed: int) -> int:
    """Work until killed; print what was acknowledged, a line each."""
    rng = random.Random(seed)
    if what == "output":
        from cellkin.matrices.annotated import write_annotated

        while True:
            number = rng.randrange(1000)
            obs = {"number": np.full(_N_CELLS, number)}
            vectors = {"X_cellkin": np.full((_N_CELLS, 200), number, np.float32)}
            write_annotated(
                place / "query.h5ad", place / "out.h5ad", obs, vectors, {}, {}, overwrite=True
            )
    store = Store.open(str(place / "store"))
    versions = store.catalog.entries(Kind.INDEX, "aliased")
    while True:
        if what == "alias":
            store.catalog.set_alias(rng.choice(versions[:2]), "stable")
        elif rng.random() < 0.6:
            made = store.publish_index("x", content(rng.randrange(10**9)), {})
            print(made.kind, made.full_name, made.digest, flush=True)
        else:
            made = store.publish_corpus("x", corpus_table(rng.randint(2, 6)), {})
            print(made.kind, made.full_name, made.digest, flush=True)


def kill(what: str, place: Path, rng: random.Random) -> tuple[list[str], bool]:
    """Run a process and kill it; return what it acknowledged, and whether it lived until then."""
    process = Fork(work, what, place, rng.randrange(10**9))
    process.kill(rng.uniform(0, 0.6))
    code, said = process.end()
    # The last line may be cut.
    told = [line.strip() for line in said.splitlines(keepends=True) if line.endswith("\n")]
    return told, code == -signal.SIGKILL


def check_store(place: Path, told: list[str], counts: collections.Counter[str]) -> None:
    """Compare the store with what was acknowledged in all trials."""
    store = Store.open(str(place / "store"))
    view = store.catalog.view()
    there = {f"{e.kind} {e.full_name} {e.digest}" for e in view.all_entries}
    counts["versions lost"] += len(set(told) - there)
    first, second, third = view.entries(Kind.INDEX, "aliased")
    means = view.aliases[Kind.INDEX, "aliased", "stable"]
    counts["aliases of no one"] += means not in (first.version, second.version)
    counts["retractions lost"] += view.retraction(third) is None
    problems = store.catalog.problems()
    # Tables may lag behind a journal whose writer was killed; the next write brings them up.
    lags = [problem for problem in problems if "next write" in problem or "brought up" in problem]
    counts["tables that lag"] += len(lags)
    counts["problems of the catalog"] += len(problems) - len(lags)
    for problem in problems:
        print(problem, flush=True)


def check_output(place: Path, counts: collections.Counter[str]) -> None:
    """Read the output, which has one number everywhere."""
    try:
        read = anndata.read_h5ad(place / "out.h5ad")
        numbers = {*read.obs["number"].tolist(), *np.unique(read.obsm["X_cellkin"]).tolist()}
        counts["outputs not whole"] += len(numbers) != 1 or read.n_obs != _N_CELLS
    except (OSError, KeyError, ValueError) as error:
        counts["outputs not whole"] += 1
        print(f"output: {error}", flush=True)


def main() -> int:
    """Run the trials and return 1 where something went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng, counts = random.Random(arguments.seed), collections.Counter[str]()
    with tempfile.TemporaryDirectory(prefix="cellkin-chaos-") as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        place = Path(name)
        store = Store.create(str(place / "store"))
        versions = [store.publish_index("aliased", content(n), {}) for n in range(3)]
        store.catalog.set_alias(versions[0], "stable")
        store.catalog.retract(versions[2], "wrong")
        cells(_N_CELLS, 1).write_h5ad(place / "query.h5ad")
        told: list[str] = []
        for number in range(arguments.trials):
            what = _WORKS[number % len(_WORKS)]
            acknowledged, lived = kill(what, place, rng)
            counts[f"kills, {what}"] += 1
            counts["processes that failed"] += not lived
            told += acknowledged
            check_store(place, told, counts)
            if (place / "out.h5ad").exists():
                check_output(place, counts)
        counts["versions acknowledged"] = len(told)
        store = Store.open(str(place / "store"))
        counts["versions damaged"] = sum(bool(damage(store, e)) for e in store.catalog.entries())
        counts["partial outputs left"] = len(list(place.glob("*.partial")))
    return report(counts, _FAULTS, arguments.trials)


if __name__ == "__main__":
    sys.exit(main())
