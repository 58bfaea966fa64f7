"""Highly variable genes against scanpy and their definition."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellkin.indexer.spaces.sample import log_expression
from cellkin.indexer.spaces.variable_genes import highly_variable


@pytest.mark.parametrize(("seed", "n"), [(0, 120), (1, 40), (2, 300)])
def test_variable_genes_are_those_of_scanpy(seed: int, n: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scanpy as sc

    rng = np.random.default_rng(seed)
    counts = rng.negative_binomial(2, 0.7, (90, 400)) * (rng.random((90, 400)) < rng.random(400))
    counts[:, :3] = 0
    cells = ad.AnnData(
        sp.csr_matrix(counts.astype(np.float32)),
        var=pd.DataFrame(index=[f"{i}" for i in range(400)]),
    )
    chosen = highly_variable(log_expression(cells.X), n)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    sc.pp.highly_variable_genes(cells, n_top_genes=n)
    assert chosen.tolist() == np.flatnonzero(cells.var["highly_variable"]).tolist()


def test_genes_that_are_never_expressed_are_not_chosen() -> None:
    counts = np.random.default_rng(0).poisson(0.5, (50, 40)).astype(np.float32)
    counts[:, ::4] = 0
    counts[:, 1] = 3  # the same everywhere before scaling
    chosen = highly_variable(log_expression(sp.csr_matrix(counts)))
    assert len(chosen) <= 30
    assert not (chosen % 4 == 0).any()
    assert (np.diff(chosen) > 0).all()
    assert highly_variable(sp.csr_matrix((5, 8))).tolist() == []
