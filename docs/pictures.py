"""Draw the pictures of the documentation from real cells.

    python docs/pictures.py [--store FOLDER]

The reference is three donors of the human pancreas (Baron 2016), without endothelial cells; the
query is the fourth donor. Genes, gene sets and an index are made in a store, which
``--store`` keeps for the next time; a server answers from it.
"""

import argparse
import gzip
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata
import matplotlib as mpl
import numpy as np
import scanpy
from matplotlib import pyplot as plt

from cellkin.client import Client, pl, tl

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared/data"
PICTURES = ROOT / "docs/pictures"
LEFT_OUT, QUERY_DONOR = "endothelial", "human1"
N_GENES = 3000
"""Genes with a text: the most variable ones."""
_HALLMARK = "genesets/h.all.v7.0.symbols.gmt.gz"
_SETTINGS: Any = {"savefig.dpi": 100, "font.size": 9, "savefig.bbox": "tight"}


def main() -> int:
    """Make the store if there is none, and draw every picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, help="kept for the next time")
    parser.add_argument("--only", nargs="*", default=[], help="names of pictures")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"skipped: no data in {DATA}")
        return 0
    mpl.use("agg")
    with tempfile.TemporaryDirectory() as folder:
        store = arguments.store or Path(folder)
        query = prepare(store)
        with served(store) as address, Client(address) as client:
            draw(client, query, set(arguments.only))
    return 0


def prepare(store: Path) -> anndata.AnnData:
    """Make the store of the pictures, unless it is there, and return the query."""
    cells = anndata.read_h5ad(DATA / "cells/pancreas_human_baron.h5ad")
    query = cells[cells.obs["donor"] == QUERY_DONOR].copy()
    if (store / "query.h5ad").exists():
        return anndata.read_h5ad(store / "query.h5ad")
    store.mkdir(parents=True, exist_ok=True)
    known = (cells.obs["donor"] != QUERY_DONOR) & (cells.obs["cell_type"] != LEFT_OUT)
    cells[known].write_h5ad(store / "reference.h5ad")
    log = cells.copy()
    scanpy.pp.normalize_total(log, target_sum=1e4)
    scanpy.pp.log1p(log)
    scanpy.pp.highly_variable_genes(log, n_top_genes=N_GENES)
    _cut_tables(store, set(cells.var_names[log.var["highly_variable"]]))
    steps = (
        "genes import --taxon human --gene-info {0}/gene_info.gz "
        "--gene-summary {0}/gene_summary.gz",
        "genes embed --model all-minilm-l6-v2",
        "genesets import {1}/" + _HALLMARK + " --name hallmark --taxon human",
        "cells index {0}/reference.h5ad --name pancreas --label cell_type --batch donor",
        "cells layout pancreas",
    )
    for step in steps:
        words = step.format(store, DATA).split()
        subprocess.run([_program(), *words, "--store", str(store)], check=True)
    place(query, log)
    query.write_h5ad(store / "query.h5ad")
    return query


def _cut_tables(folder: Path, symbols: set[str]) -> None:
    """Write the rows of NCBI's tables on the human genes of these symbols."""
    ids = set()
    for name in ("gene_info.gz", "gene_summary.gz"):
        with (
            gzip.open(DATA / "ncbi" / name, "rt") as source,
            gzip.open(folder / name, "wt") as written,
        ):
            written.write(next(source))
            for row in source:
                taxon, gene_id, symbol, *_ = row.split("\t", 3)
                if name == "gene_info.gz" and symbol in symbols:
                    ids.add(gene_id)
                if taxon == "9606" and gene_id in ids:
                    written.write(row)


def place(query: anndata.AnnData, log: anndata.AnnData) -> None:
    """Compute UMAP and clusters of the query, as a user does."""
    own = log[query.obs_names, log.var["highly_variable"]].copy()
    scanpy.pp.pca(own, random_state=0)
    scanpy.pp.neighbors(own, random_state=0)
    scanpy.tl.umap(own, random_state=0)
    # In the place of Leiden's clusters, which need another package.
    from sklearn.cluster import AgglomerativeClustering

    tree = AgglomerativeClustering(12).fit(own.obsm["X_pca"])
    query.obs["cluster"] = [f"cluster {at + 1:02}" for at in tree.labels_]
    query.obsm["X_umap"] = own.obsm["X_umap"]


def draw(client: Client, query: anndata.AnnData, only: set[str]) -> None:
    """Label the query and draw."""
    tl.annotate(query, "pancreas", client=client)
    tl.explain(query, "pancreas", by="cellkin_label", n_genes=30, client=client)
    contrast = tl.contrast(
        None, "pancreas", a="acinar", b="ductal", collections=["hallmark"], client=client
    )
    pictures: dict[str, Callable[[], Any]] = {
        "labels": lambda: pl.labels(query),
        "labels-on-data": lambda: pl.labels(query, legend_loc="on data", title="Donor 1"),
        "labels-probability": lambda: pl.labels(query, color="cellkin_winner_probability"),
        "labels-scanpy": lambda: scanpy.pl.umap(query, color="cellkin_label", show=False),
        "confidence": lambda: pl.confidence(query),
        "confusion": lambda: pl.confusion(query, "cell_type"),
        "composition": lambda: pl.composition(query, "cluster"),
        "reliability": lambda: pl.reliability(query, "cell_type"),
        "dotplot-explanation": lambda: pl.dotplot(query, n_genes=4),
        "contrast": lambda: pl.contrast(contrast),
        "dotplot-contrast": lambda: pl.dotplot(contrast),
        "enrichment": lambda: pl.enrichment(contrast),
        "gene-network": lambda: pl.gene_network(contrast),
        "gene-neighborhood": lambda: pl.gene_neighborhood(
            client.search_genes("INS", taxon="human", k=12)
        ),
        "labels-46": lambda: pl.labels(drawn(46)),
        "labels-14": lambda: pl.labels(drawn(14)),
    }
    tl.place(query, "pancreas", client=client)
    layout = client.get_layout("pancreas")
    pictures["on-reference"] = lambda: pl.on_reference(query, layout)
    PICTURES.mkdir(exist_ok=True)
    with mpl.rc_context(_SETTINGS):
        for name, picture in pictures.items():
            if not only or name in only:
                picture().figure.savefig(PICTURES / f"pl-{name}.png", metadata={"Software": None})
                plt.close("all")
                print(name)


def drawn(n_labels: int) -> anndata.AnnData:
    """Return made-up cells of many labels, to see whether their colors can be told apart."""
    rng = np.random.default_rng(0)
    code = np.repeat(np.arange(n_labels), 20)
    side = int(np.ceil(n_labels**0.5))
    at = np.stack([code % side, code // side], axis=1) + 0.16 * rng.normal(size=(len(code), 2))
    cells = anndata.AnnData(np.zeros((len(code), 1), np.float32))
    cells.obs["cellkin_label"] = [f"type {each + 1:02}" for each in code]
    cells.obsm["X_umap"] = at
    return cells


@contextmanager
def served(store: Path) -> Iterator[str]:
    """Serve the store, and yield the address."""
    command = [_program(), "serve", "--store", str(store), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("serving on ").strip()
        finally:
            process.terminate()


def _program() -> str:
    return str(Path(sys.executable).with_name("cellkin"))


if __name__ == "__main__":
    sys.exit(main())
