"""Cells that a worker leaves out are counted once: without a label, or without a gene."""

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pyarrow as pa
import pytest

from cellkin.indexer.cells.worker import CellWorker, MatrixFile, Shard, Work
from cellkin.matrices.cells import open_cells
from cellkin.matrices.options import X
from cellkin.space.projection import gene_columns


def test_cells_without_a_label_are_not_among_those_without_a_gene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = np.random.default_rng(0).poisson(3, (3, 20)).astype(np.float32)
    anndata.AnnData(counts).write_h5ad(tmp_path / "a.h5ad")
    with open_cells(tmp_path / "a.h5ad") as cells:
        units = cells.units
    space: Any = object()

    def by_text(self: Any, blocks: Any, *rest: Any) -> Any:
        assert sum(block.shape[0] for block in blocks) == 3
        return np.zeros((3, 2), np.float32), np.array([True, True, False])

    monkeypatch.setattr(CellWorker, "_by_text", by_text)
    none = np.full(20, -1)
    file = MatrixFile(tmp_path / "a.h5ad", X, units, False, gene_columns(none, 0), none)
    worker = CellWorker(Work((file,), 0, space, None, "", pa.schema([]), "cpu"))
    rows = pa.table({"id": ["a", "b", "c"], "label": ["one", None, None]})
    placed = worker.place(Shard(0, 0, 3, rows))
    worker.close()
    assert (placed.n_kept, placed.n_empty) == (0, 1)
