"""Tell the units of real cells: counts of every data set, as many forms of them as tools write.

Counts are restored where a file has logarithms. Each form is also cut to panels of genes, before
and after it was normalized, thinned to few molecules a cell, and rounded as text often is.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import anndata
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from report import Figure, add_options, at_least, at_most, finish, machine

from cellkin.matrices.scales import LINEAR, LOG1P, LOG2, LOG10, LOG_TWICE, SQUARE_ROOT, Scale
from cellkin.matrices.units import find_units
from cellkin.wire.errors import InvalidArgumentError

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "cells"
PANELS, DEPTHS, DECIMALS = (20, 100, 377), (500, 60), (2, 3)
Values = npt.NDArray[np.float64]
Make = Callable[[sp.csr_matrix, np.random.Generator], sp.csr_matrix]


def counts_of(path: Path, n_cells: int) -> sp.csr_matrix:
    """Return the counts of some cells of a file, restored where it has logarithms."""
    adata = anndata.read_h5ad(path)
    rows = np.random.default_rng(0).choice(adata.n_obs, min(n_cells, adata.n_obs), replace=False)
    cells = sp.csr_matrix(adata.X[np.sort(rows)], dtype=np.float64)
    cells.eliminate_zeros()
    if np.any(cells.data % 1):
        linear = np.expm1(cells.data)
        least = np.minimum.reduceat(linear, cells.indptr[:-1])
        cells.data = np.rint(linear / np.repeat(least, np.diff(cells.indptr)))
    return cells


def scaled(total: float | None, then: Callable[[Values], Values]) -> Make:
    """Return what scales cells to a total, that of the median cell if None, and then does more."""

    def make(cells: sp.csr_matrix, rng: np.random.Generator) -> sp.csr_matrix:
        sums = np.asarray(cells.sum(axis=1)).ravel()
        factor = (float(np.median(sums)) if total is None else total) / np.maximum(sums, 1e-9)
        return each(lambda x: then(x))(sp.csr_matrix(sp.diags(factor) @ cells), rng)

    return make


def each(then: Callable[[Values], Values]) -> Make:
    """Return what does something to each value."""

    def make(cells: sp.csr_matrix, rng: np.random.Generator) -> sp.csr_matrix:
        made = cells.copy()
        made.data = then(made.data)
        return made

    return make


def corrected(cells: sp.csr_matrix, rng: np.random.Generator) -> sp.csr_matrix:
    """Return counts without a part of each, as after a correction for ambient RNA."""
    made = cells.copy()
    made.data = made.data * rng.uniform(0.85, 1, made.nnz)
    return made


def log_corrected(cells: sp.csr_matrix, rng: np.random.Generator) -> sp.csr_matrix:
    """Return log1p of corrected counts per 10,000."""
    return scaled(1e4, np.log1p)(corrected(cells, rng), rng)


FORMS: dict[str, tuple[Make, Scale]] = {
    "counts": (each(lambda x: x), LINEAR),
    "counts times 0.3": (each(lambda x: 0.3 * x), LINEAR),
    "corrected counts": (corrected, LINEAR),
    "CP10K": (scaled(1e4, lambda x: x), LINEAR),
    "CPM": (scaled(1e6, lambda x: x), LINEAR),
    "log1p of counts": (each(np.log1p), LOG1P),
    "log1p of CP10K": (scaled(1e4, np.log1p), LOG1P),
    "log1p of CPM": (scaled(1e6, np.log1p), LOG1P),
    "log1p of the median total": (scaled(None, np.log1p), LOG1P),
    "log1p of corrected CP10K": (log_corrected, LOG1P),
    "log2(CP10K + 1)": (scaled(1e4, lambda x: np.log2(1 + x)), LOG2),
    "log2(CPM + 1)": (scaled(1e6, lambda x: np.log2(1 + x)), LOG2),
    "log2 by size factors": (scaled(None, lambda x: np.log2(1 + x)), LOG2),
    "log10(CP10K + 1)": (scaled(1e4, lambda x: np.log10(1 + x)), LOG10),
    "square roots": (each(np.sqrt), SQUARE_ROOT),
    "log1p twice": (scaled(1e4, lambda x: np.log1p(np.log1p(x))), LOG_TWICE),
}


def panel(cells: sp.csr_matrix, n: int) -> npt.NDArray[np.int64]:
    """Return some of the genes that are detected most."""
    often = np.argsort(-cells.getnnz(axis=0), kind="stable")[: 4 * n]
    return np.sort(np.random.default_rng(n).choice(often, min(n, len(often)), replace=False))


def variants(counts: sp.csr_matrix, make: Make) -> Iterator[tuple[str, sp.csr_matrix]]:
    """Yield one form of all genes, of panels, of few molecules and after rounding."""
    rng = np.random.default_rng(1)
    whole = make(counts, rng)
    yield "all genes", whole
    for n in PANELS:
        yield f"panel of {n}", make(sp.csr_matrix(counts[:, panel(counts, n)]), rng)
        yield f"cut to {n} afterwards", sp.csr_matrix(whole[:, panel(counts, n)])
    for depth in DEPTHS:
        kept = np.minimum(1, depth / np.asarray(counts.sum(axis=1)).ravel())
        thin = counts.copy()
        thin.data = rng.binomial(
            counts.data.astype(np.int64), np.repeat(kept, np.diff(counts.indptr))
        ).astype(np.float64)
        thin.eliminate_zeros()
        yield f"{depth} counts a cell", make(thin, rng)
    for decimals in DECIMALS:
        rounded = each(lambda x, d=decimals: np.round(x, d))(whole, rng)
        rounded.eliminate_zeros()
        yield f"{decimals} decimals", rounded


def main() -> int:
    """Judge every form of every file, and print how many were right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=200, help="cells of each file")
    parser.add_argument("--files", nargs="*", type=Path, help="instead of all there are")
    add_options(parser)
    arguments = parser.parse_args()
    files = arguments.files or sorted(DATA.glob("*.h5ad"))
    if not files:
        print(f"skipped: there is no {DATA}")
        return 0
    asked, right, said = Counter[str](), Counter[str](), Counter[str]()
    for path in files:
        counts = counts_of(path, arguments.cells)
        for form, (make, scale) in FORMS.items():
            for variant, cells in variants(counts, make):
                asked[form] += 1
                try:
                    found = find_units(sp.csr_matrix(cells, dtype=np.float32), variant)
                except InvalidArgumentError:
                    said[form] += 1
                    continue
                right[form] += found.scale is scale
                if found.scale is not scale:
                    said[form] += bool(found.caution)
                    print(f"{path.stem}, {form}, {variant}: {found.why}; {found.caution}")
    silent = sum(asked.values()) - sum(right.values()) - sum(said.values())
    table = [
        "| Form | Asked | Right | Wrong, with a warning | Wrong in silence |",
        "|---" * 5 + "|",
    ]
    table += [
        f"| {form} | {n} | {right[form]} | {said[form]} | {n - right[form] - said[form]} |"
        for form, n in asked.items()
    ]
    figures: list[Figure] = [
        at_least("forms told right", sum(right.values()) / sum(asked.values()), "share", 0.99),
        at_most("forms told wrong in silence", float(silent), "", 0),
    ]
    notes = [*machine("numpy", "scipy"), f"{len(files)} files, {arguments.cells} cells of each."]
    return finish(arguments, "units", "Units", notes, figures, table)


if __name__ == "__main__":
    raise SystemExit(main())
