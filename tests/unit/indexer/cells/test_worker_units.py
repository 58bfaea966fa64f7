"""Cells of a reference that are of other units than those that were sampled."""

from pathlib import Path

import anndata
import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from cellkin.indexer.cells.worker import CellWorker, MatrixFile, Shard, Work
from cellkin.matrices.cells import open_cells
from cellkin.matrices.options import X
from cellkin.space.projection import gene_columns
from cellkin.wire.errors import InvalidArgumentError

N_CELLS, N_GENES = 2000, 60


@pytest.fixture
def counts() -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    return sp.csr_matrix(
        rng.poisson(1 + rng.gamma(0.5, 2, N_GENES), (N_CELLS, N_GENES)), dtype="f4"
    )


def taken(path: Path) -> sp.csr_matrix:
    """Return all cells as a worker reads them."""
    with open_cells(path) as cells:
        units = cells.units
    none = np.full(N_GENES, -1)
    file = MatrixFile(path, X, units, False, gene_columns(none, 0), np.arange(N_GENES) + 1)
    worker = CellWorker(Work((file,), 0, None, None, "", pa.schema([]), "cpu"))
    rows = pa.table({"id": pa.nulls(N_CELLS), "label": pa.nulls(N_CELLS)})
    try:
        return worker.take(Shard(0, 0, N_CELLS, rows))
    finally:
        worker.close()


def test_logarithms_are_read_as_counts_are(tmp_path: Path, counts: sp.csr_matrix) -> None:
    logs = counts.copy()
    logs.data = np.log2(1 + logs.data)
    for name, cells in (("a", counts), ("b", logs)):
        anndata.AnnData(cells).write_h5ad(tmp_path / f"{name}.h5ad")
    found = [taken(tmp_path / f"{name}.h5ad").toarray() for name in ("a", "b")]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_cells_of_two_units_are_read_where_the_sample_shows_them(
    tmp_path: Path, counts: sp.csr_matrix
) -> None:
    half = N_CELLS // 2
    mixed = sp.vstack([counts[:half], counts[half:].log1p()], format="csr")
    anndata.AnnData(mixed).write_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_allclose(taken(tmp_path / "a.h5ad").toarray(), counts.toarray(), rtol=1e-5)


def test_cells_of_other_units_beside_the_sample_are_refused(
    tmp_path: Path, counts: sp.csr_matrix
) -> None:
    # Not among the cells that are sampled.
    mixed = sp.vstack([counts[:50], counts[50:60].log1p(), counts[60:]], format="csr")
    anndata.AnnData(mixed).write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InvalidArgumentError, match="10 are log1p of counts and 1,990 are counts"):
        taken(tmp_path / "a.h5ad")
