"""What becomes of little: panels of few genes, few molecules, few cells, and references of few.

Of the pancreas one donor is asked about, of PBMC half of the cells, by a reference that lacks one
type. The cells are cut to panels of genes, thinned, and asked in small numbers. Each row has the
share of wrong labels among those that are claimed and the share of cells called unknown. References
of one label, of one cell and of few cells of a label are those of the practice data.

`--json FILE` keeps the figures, and `--before FILE` puts such a file of an older version beside
them: run it by that version's packages, `PYTHONPATH=store:indexer:server:clients/python`.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import numpy as np
import scipy.sparse as sp
from report import Figure, add_options, at_most, finish, machine

from cellkin.indexer.evaluation.baselines import Answer
from cellkin.indexer.evaluation.models import FittedMethod, SpaceMethod
from cellkin.indexer.spaces.thinning import molecules, thin
from cellkin.wire.errors import CellkinError

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared/data"
sys.path.append(str(ROOT / "docs/tutorials"))
PANELS = (20, 50, 100, 377)
N_CELLS = (1, 10, 199, 200, 2000)
COUNTS = (2000, 500, 200, 60)
MOST_WRONG = 0.05


@dataclass(frozen=True)
class Cells:
    """Labeled cells: (n_cells, n_genes) CSR counts, types, and which are asked about."""

    name: str
    counts: sp.csr_matrix
    types: np.ndarray
    batches: np.ndarray
    asked: np.ndarray


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, metavar="FILE", help="figures of an older version")
    add_options(parser)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    figures = list(practice_references())
    notes = [*machine("numpy", "scikit-learn"), "share of wrong labels among those claimed"]
    if (DATA / "cells").is_dir():
        for cells, hidden in ((pancreas(), "beta"), (pbmc(), "B")):
            figures += of_set(cells, hidden)
    else:
        notes.append(f"not run: the data sets are not at {DATA / 'cells'}")
    if arguments.before:
        figures = beside(figures, json.loads(arguments.before.read_text()))
    return finish(arguments, "small", "Few genes, molecules, cells and labels", notes, figures)


def pancreas() -> Cells:
    """Ask about the donor with the fewest cells."""
    data = anndata.read_h5ad(DATA / "cells/pancreas_human_baron.h5ad")
    donors = data.obs["donor"].astype(str).to_numpy()
    types = data.obs["cell_type"].astype(str).to_numpy()
    counts = sp.csr_matrix(data.X, dtype=np.float32)
    return Cells("pancreas", counts, types, donors, donors == "human4")


def pbmc() -> Cells:
    """Ask about a random half."""
    data = anndata.read_h5ad(DATA / "cells/pbmc_human_3k.h5ad")
    types = data.obs["cell_type"].astype(str).to_numpy()
    counts = sp.csr_matrix(sp.csr_matrix(data.X, dtype=np.float32).expm1())
    asked = np.random.default_rng(0).random(len(types)) < 0.5
    return Cells("PBMC", counts, types, np.full(len(types), "all"), asked)


def of_set(cells: Cells, hidden: str) -> Iterator[Figure]:
    """Ask about panels, thinned cells and few cells, by a reference that lacks a type."""
    known = ~cells.asked & (cells.types != hidden)
    names, codes = np.unique(cells.types, return_inverse=True)
    _, batches = np.unique(cells.batches, return_inverse=True)
    genes = [str(at + 1) for at in range(cells.counts.shape[1])]
    fitted = SpaceMethod("expression").fit(
        cells.counts[known], genes, codes[known].astype(np.int32), batches[known].astype(np.int32)
    )
    title = f"{cells.name} without {hidden}"
    # Types that only the asked cells have are unknown to the reference, too.
    truth, query = cells.types[cells.asked], cells.counts[cells.asked]
    markers = marker_genes(cells.counts[known], codes[known])
    every = np.arange(query.shape[1])
    for n in (*PANELS, 0):
        panel = every if n == 0 else markers[:n]
        what = f"{title}, {n or 'all'} genes"
        yield from asked_of(what, fitted, names, query, truth, np.sort(panel), hidden)
    for n in N_CELLS:
        few = np.random.default_rng(n).permutation(len(truth))[:n]
        panel = np.sort(markers[:100])
        what = f"{title}, 100 genes, {min(n, len(truth))} cells"
        yield from asked_of(what, fitted, names, query[few], truth[few], panel, hidden)
    whole = molecules(query)
    for n in COUNTS:
        depth = np.asarray(whole.sum(axis=1)).ravel().mean()
        if n < depth:
            thinned = thin(whole, n / depth, np.random.default_rng(0))
            yield from asked_of(
                f"{title}, {n} molecules a cell", fitted, names, thinned, truth, every, hidden
            )


def marker_genes(counts: sp.csr_matrix, codes: np.ndarray) -> np.ndarray:
    """Return genes in turn of each type: those highest above all other types, best first."""
    totals = np.asarray(counts.sum(axis=1)).ravel()
    logs = sp.csr_matrix(sp.diags(1e4 / np.maximum(totals, 1)) @ counts)
    logs.data = np.log1p(logs.data)
    means = np.stack([np.asarray(logs[codes == i].mean(axis=0)).ravel() for i in np.unique(codes)])
    order = np.argsort(np.sort(means, axis=0)[-2] - means, axis=1, kind="stable")
    _, first = np.unique(order.T.ravel(), return_index=True)
    return order.T.ravel()[np.sort(first)]


def asked_of(
    what: str, fitted: FittedMethod, names: np.ndarray, counts: sp.csr_matrix, truth: np.ndarray,
    genes: np.ndarray, hidden: str,
) -> Iterator[Figure]:  # fmt: skip
    """Ask about cells by some genes."""
    answer = fitted.predict(counts[:, genes], [str(gene + 1) for gene in genes])
    yield from scored(what, answer, names, truth, hidden)


def scored(
    what: str, answer: Answer, names: np.ndarray, truth: np.ndarray, hidden: str | None
) -> Iterator[Figure]:
    """Return the share of wrong labels among those claimed, and of cells called unknown."""
    assert answer.unknown is not None
    claimed, wrong = ~answer.unknown, names[answer.codes] != truth
    n = int(claimed.sum())
    value = float(wrong[claimed].mean()) if n else 0.0
    yield at_most(f"{what}: wrong of claimed", value, f"of {n}", MOST_WRONG)
    yield Figure(f"{what}: unknown", float(1 - claimed.mean()), "")
    left = truth == hidden
    if hidden is not None:
        some = claimed & ~left
        value = float(wrong[some].mean()) if some.any() else 0.0
        of_known = f"of {int(some.sum())}"
        yield at_most(f"{what}: wrong of claimed, known types", value, of_known, MOST_WRONG)
    if left.any():
        yield Figure(
            f"{what}: {hidden} unknown", float(1 - claimed[left].mean()), f"of {left.sum()}"
        )


def practice_references() -> Iterator[Figure]:
    """Ask small references about a sample of eight types."""
    from practice import TYPES, make_cells

    reference = make_cells(list(TYPES) * 30, 1)
    sample = make_cells([*(list(TYPES) * 10), *(["macrophage"] * 10)], 2)
    types = reference.obs["cell_type"].astype(str).to_numpy()
    rows = {name: np.flatnonzero(types == name) for name in TYPES}
    asked = {
        "all labels": np.arange(len(types)),
        "one label": rows["beta"],
        "one cell": rows["alpha"][:1],
        "one cell of each label": np.array([found[0] for found in rows.values()]),
        "two cells of each label": np.concatenate([found[:2] for found in rows.values()]),
        **{f"30 beta and {n} alpha": np.r_[rows["beta"], rows["alpha"][:n]] for n in (1, 2, 3)},
    }
    genes = [str(at + 1) for at in range(reference.n_vars)]
    truth = sample.obs["cell_type"].astype(str).to_numpy()
    for what, kept in asked.items():
        names, codes = np.unique(types[kept], return_inverse=True)
        try:
            require(names, codes)
            fitted = SpaceMethod("expression").fit(
                sp.csr_matrix(reference.X[kept]), genes, codes.astype(np.int32)
            )
            answer = fitted.predict(sp.csr_matrix(sample.X), genes)
        except (CellkinError, ValueError) as error:
            print(f"{what}: refused: {error}")
            yield Figure(f"practice, {what}: refused", 1.0, "")
            continue
        yield from scored(f"practice, {what}", answer, names, truth, None)


def require(names: np.ndarray, codes: np.ndarray) -> None:
    """Refuse what `cellkin cells index` refuses."""
    try:
        from cellkin.indexer.cells.labels import require_different
    except ImportError:  # of an older version, which refused none
        return
    counts = np.bincount(codes)
    require_different(dict(zip(names.tolist(), counts.tolist(), strict=True)), "practice")


def beside(figures: Sequence[Figure], old: Sequence[dict[str, object]]) -> list[Figure]:
    """Follow every figure by what it was."""
    before = {str(figure["name"]): figure for figure in old}
    found = []
    for figure in figures:
        found.append(figure)
        if (kept := before.get(figure.name)) is not None:
            value, unit = float(str(kept["value"])), str(kept["unit"])
            found.append(replace(figure, name=f"{figure.name}, before", value=value, unit=unit,
                                 target=None, met=None))  # fmt: skip
    return found


if __name__ == "__main__":
    sys.exit(main())
