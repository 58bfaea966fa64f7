"""Features that are no genes, names in a column, and tables of text, through a real server."""

import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellkin.client import AnswerWarning, Client, tl
from cellkin.wire.errors import GenesUnmatchedError

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]
Make = Callable[..., anndata.AnnData]

# The ten first genes mark the type alpha.
TAGS = [f"GENE{i}" for i in range(1, 11)]


def with_antibodies(data: anndata.AnnData) -> anndata.AnnData:
    """Put antibodies of one type's markers before the genes, with much background in every cell."""
    counts = np.random.default_rng(0).poisson(60, (data.n_obs, len(TAGS))).astype(np.float32)
    var = pd.DataFrame(
        {"feature_types": ["Antibody Capture"] * len(TAGS) + ["Gene Expression"] * data.n_vars},
        index=[*(f"{tag}-1" for tag in TAGS), *data.var_names],
    )
    return anndata.AnnData(sp.csr_matrix(sp.hstack([counts, data.X])), data.obs.copy(), var)


@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
def test_antibodies_do_not_change_an_answer(
    ending: str, server: str, query_path: Path, tmp_path: Path, run_cellkin: Run
) -> None:
    genes = anndata.read_h5ad(query_path)
    both = with_antibodies(genes)
    path, out = tmp_path / f"both.{ending}", tmp_path / "out.h5ad"
    if ending == "h5ad":
        both.write_h5ad(path)
    else:
        with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=3):
            # Of anndata, on what its next releases will do.
            warnings.filterwarnings("ignore", "zarr v3 autosharding|Consolidated meta")
            both.write_zarr(path)
    with Client(server) as client:
        tl.annotate(genes, "trio", client=client)
        tl.annotate(both, "trio", client=client)
    pd.testing.assert_frame_equal(
        both.obs.filter(like="cellkin_"), genes.obs.filter(like="cellkin_")
    )
    note = "left out 10 features that are not genes: Antibody Capture"
    assert note in both.uns["cellkin"]["notes"]
    done = run_cellkin("annotate", path, "--index", "trio", "--server", server, "-o", out)
    assert done.returncode == 0, done.stderr
    assert note in done.stdout
    written = anndata.read_h5ad(out)
    assert list(written.obs["cellkin_label"]) == list(genes.obs["cellkin_label"])
    if ending == "h5ad":
        # All of the file is there, also what was not read.
        assert (written.X != both.X).nnz == 0
    told = written.var if ending == "h5ad" else both.var
    assert list(told["cellkin_gene_id"][:10]) == [0] * 10
    assert set(told["cellkin_match"][:10]) == {"not a gene"}
    assert set(told["cellkin_match"][10:]) == {"symbol"}
    assert list(written.var["cellkin_gene_id"][-120:]) == list(genes.var["cellkin_gene_id"])


def test_names_in_a_column(server: str, query_path: Path, tmp_path: Path, run_cellkin: Run) -> None:
    genes = anndata.read_h5ad(query_path)
    numbered = genes.copy()
    numbered.var["feature_name"] = list(genes.var_names)
    numbered.var_names = [f"row{at}" for at in range(genes.n_vars)]
    with Client(server) as client:
        with pytest.raises(GenesUnmatchedError, match=r"gene_column='feature_name'"):
            tl.annotate(numbered, "trio", client=client)
        tl.annotate(genes, "trio", client=client)
        tl.annotate(numbered, "trio", client=client, gene_column="feature_name")
    pd.testing.assert_frame_equal(
        numbered.obs.filter(like="cellkin_"), genes.obs.filter(like="cellkin_")
    )
    path = tmp_path / "numbered.h5ad"
    numbered.write_h5ad(path)
    asked = ("annotate", path, "--index", "trio", "--server", server)
    refused = run_cellkin(*asked)
    assert refused.returncode != 0
    assert "try gene_column='feature_name' (--gene-column feature_name)" in refused.stderr
    done = run_cellkin(*asked, "--gene-column", "feature_name")
    assert done.returncode == 0, done.stderr
    wrong = run_cellkin(*asked, "--gene-column", "feature")
    assert "no var column 'feature' for the gene names; it has: feature_name" in wrong.stderr


def test_few_names_that_match_are_warned_of_with_better_ones(server: str, query_path: Path) -> None:
    genes = anndata.read_h5ad(query_path)
    genes.var["symbol"] = list(genes.var_names)
    names = [f"X{at}Q" for at in range(500)]
    more = anndata.AnnData(
        sp.csr_matrix((genes.n_obs, 500), dtype=np.float32),
        genes.obs.copy(),
        pd.DataFrame({"symbol": [f"Y{at}Q" for at in range(500)]}, index=names),
    )
    few = anndata.concat([genes, more], axis=1, merge="first")
    with Client(server) as client, pytest.warns(AnswerWarning) as warned:
        tl.annotate(few, "trio", client=client)
    said = [str(w.message) for w in warned if "gene_column='symbol'" in str(w.message)]
    # The names of the column are those of the first genes.
    assert len(said) == 1
    assert "108 of 620 gene names are used" in said[0]


def test_a_table_of_text_has_the_same_answer(
    server: str, query_path: Path, tmp_path: Path, run_cellkin: Run
) -> None:
    genes = anndata.read_h5ad(query_path)
    path, out = tmp_path / "genes.csv", tmp_path / "out.h5ad"
    genes.to_df().T.astype(int).rename_axis("gene").to_csv(path)
    done = run_cellkin("annotate", path, "--index", "trio", "--server", server, "-o", out)
    assert done.returncode == 0, done.stderr
    with Client(server) as client:
        tl.annotate(genes, "trio", client=client)
    written = anndata.read_h5ad(out)
    assert list(written.obs["cellkin_label"]) == list(genes.obs["cellkin_label"])
    assert list(written.obs_names) == list(genes.obs_names)
