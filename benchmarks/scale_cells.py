"""Any number of synthetic cells, made from real ones where there are any."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from index import DIM, EFFECTIVE_DIM, N_TYPES, mixture
from serve_store import corpus_of

from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.space.projection import CellSpace, gene_columns, weighted_means
from cellkin.space.recipe import TEXT_V1
from cellkin.space.vectors import unit_rows

_DATA = Path(__file__).resolve().parents[2] / "shared/data/cells"
_FILES = (
    "pancreas_human_baron.h5ad", "retina_human_voigt_periphery_d1_d2.h5ad",
    "pbmc_human_3k.h5ad", "brain_human_darmanis.h5ad",
)  # fmt: skip
_LEAST_CELLS = 20
_COMBINED = 8
_CHUNK = 65_536


@dataclass(frozen=True)
class Origin:
    """What synthetic cells are made from, and the space they are in.

    Parameters
    ----------
    space
        The space.
    labels
        The cell types.
    notes
        What the cells are, for the report.
    starts
        (n_labels + 1,) where the real cells of each type begin; empty if there are none.
    means, deviations
        (n_labels, dim) and (n_real, dim) float32, the types' means, and the real cells less these.
    """

    space: CellSpace
    labels: list[str]
    notes: list[str]
    starts: Int64Vector
    means: Float32Matrix
    deviations: Float32Matrix

    def cells(self, n: int, seed: int) -> Iterator[tuple[Float32Matrix, list[str]]]:
        """Yield blocks of cells as the table of an index holds them, with their types."""
        if not len(self.means):
            done = 0
            for block in mixture(n, seed):
                yield block, [self.labels[i % N_TYPES] for i in range(done, done + len(block))]
                done += len(block)
            return
        rng, sizes = np.random.default_rng(seed), np.diff(self.starts)
        for at in range(0, n, _CHUNK):
            size = min(_CHUNK, n - at)
            types = rng.choice(len(sizes), size, p=sizes / sizes.sum())
            drawn = rng.random((size, _COMBINED)) * sizes[types, None]
            of = self.starts[types, None] + drawn.astype(np.int64)
            shares = rng.standard_normal(of.shape, np.float32) / np.float32(np.sqrt(_COMBINED))
            each = np.arange(0, of.size + 1, _COMBINED)
            moved = sp.csr_array((shares.ravel(), of.ravel(), each), (size, len(self.deviations)))
            block = np.asarray(self.means[types] + moved @ self.deviations, np.float32)
            yield block, [self.labels[i] for i in types.tolist()]


def origin() -> Origin:
    """Read the real cells and place them, or say that there are none."""
    files = [path for name in _FILES if (path := _DATA / name).exists()]
    if not files:
        labels = [f"type-{i}" for i in range(N_TYPES)]
        empty = np.empty((0, DIM), np.float32)
        note = (
            f"no real cells found, so {N_TYPES} overlapping types of effective dimension "
            f"{EFFECTIVE_DIM}, seeded"
        )
        return Origin(_space(2000), labels, [note], np.zeros(0, np.int64), empty, empty)
    read = [_read(path) for path in files]
    symbols = sorted({symbol for _, genes, _ in read for symbol in genes})
    row_of, space = {symbol: row for row, symbol in enumerate(symbols)}, _space(len(symbols))
    placed = []
    for matrix, genes, _ in read:
        columns = gene_columns(np.array([row_of[gene] for gene in genes]), len(symbols))
        placed.append(weighted_means(matrix, columns, space)[0])
    vectors, of = np.concatenate(placed), np.concatenate([labels for _, _, labels in read])
    _, codes, counts = np.unique(of, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(counts[codes] >= _LEAST_CELLS)
    order = kept[np.argsort(of[kept], kind="stable")]
    names, codes, counts = np.unique(of[order], return_inverse=True, return_counts=True)
    starts = np.concatenate([[0], np.cumsum(counts)])
    means = np.asarray(
        np.add.reduceat(vectors[order], starts[:-1], axis=0) / counts[:, None], np.float32
    )
    space = replace(space, center=vectors[order].mean(axis=0))
    labels = [str(name) for name in names]
    made = Origin(space, labels, [], starts, means, vectors[order] - means[codes])
    note = (
        f"made from {len(order):,} real cells of {len(labels)} types and {len(symbols):,} genes, "
        f"placed by text-v1 with seeded vectors of the genes: a type's mean, and {_COMBINED} of "
        "its cells' deviations from it with normal weights, so that means and covariances are "
        f"those of the real types; effective dimension {_effective_dim(made):.0f}"
    )
    return replace(made, notes=[note])


def _space(n_genes: int) -> CellSpace:
    genes = corpus_of(n_genes)
    vectors = np.random.default_rng(1).standard_normal((n_genes, DIM)).astype(np.float32)
    return CellSpace(
        recipe=TEXT_V1,
        gene_ids=genes["gene_id"].to_numpy(),
        taxa=genes["taxon"].to_numpy(),
        vectors=unit_rows(vectors),
        weights=np.ones(n_genes, np.float32),
        measured=np.ones(n_genes, bool),
        center=np.zeros(DIM, np.float32),
    )


def _read(path: Path) -> tuple[sp.csr_matrix, list[str], npt.NDArray[np.object_]]:
    """Return the linear expression of cells, the symbols of their genes, and their types."""
    data = anndata.read_h5ad(path)
    matrix = sp.csr_matrix(data.X, dtype=np.float32)
    if "log" in str(data.uns.get("x_units", "")):
        matrix.data = np.expm1(matrix.data)
    matrix.sort_indices()
    symbols = [str(name).strip().upper() for name in data.var_names]
    organ = path.name.partition("_")[0]
    labels = np.array([f"{organ} {label}" for label in data.obs["cell_type"]], object)
    return matrix, symbols, labels


def _effective_dim(made: Origin) -> float:
    """Return how many dimensions of equal variance the unit vectors of cells are worth."""
    some = np.concatenate([block for block, _ in made.cells(20_000, seed=3)])
    units = unit_rows(some - made.space.center)
    variances = np.linalg.eigvalsh(np.cov(units.T))
    return float(variances.sum() ** 2 / (variances**2).sum())
