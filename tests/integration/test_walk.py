"""The walk of docs/walk.md on real data: import, embed, index, serve, annotate, search."""

import gzip
import json
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import anndata
import numpy as np
import pytest

pytestmark = pytest.mark.integration
DATA = Path(__file__).parents[3] / "shared" / "data"
Run = Callable[..., subprocess.CompletedProcess[str]]
Serve = Callable[..., AbstractContextManager[tuple[str, subprocess.Popen[str]]]]
HUMAN, MOUSE = (DATA / "cells" / f"pancreas_{s}_baron.h5ad" for s in ("human", "mouse"))


@pytest.fixture(autouse=True)
def _real_data() -> None:
    if not (DATA / "ncbi" / "gene_info.gz").exists():
        pytest.skip(f"the real gene tables and cells are not at {DATA}")


def most_expressed(path: Path, n: int) -> set[str]:
    data = anndata.read_h5ad(path)
    totals = np.asarray(data.X.sum(axis=0)).ravel()
    return set(data.var_names[np.argsort(-totals)[:n]])


def cut_tables(folder: Path, n: int) -> Path:
    """Write the NCBI tables with the genes most expressed in the two files only."""
    wanted = {"9606": most_expressed(HUMAN, n), "10090": most_expressed(MOUSE, n)}
    ids = set()
    folder.mkdir()
    with (
        gzip.open(DATA / "ncbi" / "gene_info.gz", "rt") as source,
        gzip.open(folder / "gene_info.gz", "wt") as target,
    ):
        target.write(next(source))
        for line in source:
            taxon, gene_id, symbol = line.split("\t", 3)[:3]
            if symbol in wanted[taxon]:
                ids.add(gene_id)
                target.write(line)
    with (
        gzip.open(DATA / "ncbi" / "gene_summary.gz", "rt") as source,
        gzip.open(folder / "gene_summary.gz", "wt") as target,
    ):
        target.write(next(source))
        target.writelines(line for line in source if line.split("\t", 2)[1] in ids)
    return folder


def walk(tables: Path, folder: Path, run: Run, serve: Serve) -> dict[str, float]:
    """Do what the page does; return what came of it."""
    store, out = folder / "store", folder / "labeled.h5ad"

    def ask(*arguments: str | Path) -> str:
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    strings = [DATA / "string" / f"{t}.protein.info.v12.0.txt.gz" for t in (9606, 10090)]
    ask(
        "genes", "import", "--store", store,
        "--gene-info", tables / "gene_info.gz", "--gene-summary", tables / "gene_summary.gz",
        "--gene-orthologs", DATA / "ncbi" / "gene_orthologs.gz",
        "--string", strings[0], "--string", strings[1],
    )  # fmt: skip
    embedded = json.loads(
        ask("genes", "embed", "--store", store, "--model", "all-minilm-l6-v2", "--json")
    )
    again = json.loads(ask("genes", "embed", "--store", store, "--json"))
    assert again["digest"] == embedded["digest"]
    assert (again["n_embedded"], again["n_reused"]) == (0, embedded["n_texts"])
    ask(
        "cells", "index", HUMAN, "--store", store, "--name", "pancreas",
        "--label", "cell_type", "--batch", "donor", "--recipe", "text-v1",
    )  # fmt: skip
    with serve(store) as (address, _):
        table = ask("annotate", MOUSE, "--index", "pancreas", "--server", address, "-o", out)
        assert "read as mouse (inferred from the names)" in table
        found = json.loads(
            ask(
                "search",
                "genes",
                "INS",
                "--taxon",
                "9606",
                "-k",
                "10",
                "--server",
                address,
                "--json",
            )
        )
    got = anndata.read_h5ad(out)
    truth = got.obs["cell_type"].astype(str)
    right = got.obs["cellkin_winner"].astype(str) == truth
    assert got.uns["cellkin"]["versions"]["embedding"].startswith("all-minilm-l6-v2@")
    assert len(found["neighbors"]) == 10
    return {
        "n_genes": embedded["n_genes"],
        "accuracy": float(right.mean()),
        "accuracy_known": float(right[~got.obs["cellkin_unknown"]].mean()),
        "unknown": float(got.obs["cellkin_unknown"].mean()),
    }


def test_the_walk_with_the_most_expressed_genes(
    tmp_path: Path, run_cellkin: Run, serve: Serve
) -> None:
    got = walk(cut_tables(tmp_path / "tables", 1500), tmp_path, run_cellkin, serve)
    assert got["n_genes"] > 2500
    assert got["accuracy"] > 0.6
    assert got["accuracy_known"] > got["accuracy"]


@pytest.mark.slow
def test_the_walk_with_all_genes(tmp_path: Path, run_cellkin: Run, serve: Serve) -> None:
    got = walk(DATA / "ncbi", tmp_path, run_cellkin, serve)
    assert got["n_genes"] > 90_000
    assert got["accuracy"] > 0.7
    assert got["accuracy_known"] > got["accuracy"]
