"""Log expression that parts of a sample share, against its definition."""

import numpy as np
import pytest
from tests.unit.indexer.spaces.made import sample_of

from cellkin.indexer.spaces.sample import log_expression
from cellkin.indexer.spaces.variable_genes import moments

SAMPLE = sample_of([40, 30, 2])
ROWS = np.array([3, 9, 11, 40, 41, 60, 71])


@pytest.mark.parametrize("rows", [np.arange(SAMPLE.n_cells), ROWS], ids=["all", "some"])
def test_moments_of_a_part_are_those_of_its_cells(rows: np.ndarray) -> None:
    part = SAMPLE.take(rows)
    logs, found = log_expression(part.cells), part.moments
    for label in range(part.n_labels):
        own = logs[part.labels == label].toarray()
        np.testing.assert_allclose(found.sums[label], own.sum(axis=0), rtol=1e-5)
        np.testing.assert_allclose(found.squares[label], (own**2).sum(axis=0), rtol=1e-5)
    mean, variance = moments(logs, np.expm1(logs.data))
    np.testing.assert_allclose(found.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-4)
    assert found.n_detected.tolist() == (part.cells > 0).sum(axis=0).A1.tolist()
    assert part.logs.n_detected.tolist() == (part.cells > 0).sum(axis=1).A1.tolist()


def test_a_gene_with_one_value_has_no_variance() -> None:
    cells = sample_of([30, 30])
    counts = cells.cells.toarray()
    counts[:, 0] = counts[:, 1:].sum(axis=1)
    filled = type(cells)(
        type(cells.cells)(counts), cells.gene_ids, cells.labels, cells.label_names, cells.batches
    )
    assert filled.moments.mean[0] > 0
    assert filled.moments.variance[0] == 0


def test_dense_logs_are_shifted_scaled_and_limited() -> None:
    genes = np.array([7, 2, 50])
    part = SAMPLE.take(ROWS)
    logs = log_expression(part.cells)[:, genes].toarray()
    shifts, scales = np.array([0.5, 1, 2]), np.array([2.0, 0.5, 3])
    found = part.logs.dense(genes, shifts, scales, 1.5)
    np.testing.assert_allclose(found, np.minimum((logs - shifts) * scales, 1.5), atol=1e-5)
    assert found.dtype == np.float32
