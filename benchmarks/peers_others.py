"""Label the cells of one file by another, by other tools as in their documentation.

Run by peers.py in a process of its own and, for CellTypist, in an environment of its own. It
imports nothing of this repository, so a tool's time is its own.
"""

import argparse
import warnings
from pathlib import Path
from typing import Any

import anndata
import pandas as pd

N_VARIABLE, N_COMPONENTS = 2_000, 50


def main() -> None:
    """Label the cells and write them as CSV."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tool", choices=list(TOOLS))
    parser.add_argument("reference", type=Path)
    parser.add_argument("query", type=Path)
    parser.add_argument("column")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    reference, query = (anndata.read_h5ad(path) for path in (arguments.reference, arguments.query))
    found = TOOLS[arguments.tool](reference, query, arguments.column)
    pd.DataFrame({"cell": query.obs_names, "label": list(found)}).to_csv(arguments.out, index=False)


def celltypist(reference: Any, query: Any, column: str) -> Any:
    """Train CellTypist with its defaults and annotate without majority voting."""
    import celltypist
    import scanpy as sc

    for cells in (reference, query):
        sc.pp.normalize_total(cells, target_sum=1e4)
        sc.pp.log1p(cells)
    model = celltypist.train(reference, labels=column)
    return celltypist.annotate(query, model=model).predicted_labels["predicted_labels"]


def ingest(reference: Any, query: Any, column: str) -> Any:
    """Ingest into 50 principal components of 2,000 variable genes."""
    import scanpy as sc

    for cells in (reference, query):
        sc.pp.normalize_total(cells, target_sum=1e4)
        sc.pp.log1p(cells)
    sc.pp.highly_variable_genes(reference, n_top_genes=N_VARIABLE)
    reference = reference[:, reference.var["highly_variable"]].copy()
    query = query[:, reference.var_names].copy()
    sc.pp.pca(reference, n_comps=N_COMPONENTS)
    sc.pp.neighbors(reference)
    sc.tl.ingest(query, reference, obs=column, embedding_method="pca")
    return query.obs[column]


def regression(reference: Any, query: Any, column: str) -> Any:
    """Fit scikit-learn's regression, with its defaults, to z-scores of 2,000 variable genes."""
    import scanpy as sc
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    for cells in (reference, query):
        sc.pp.normalize_total(cells, target_sum=1e4)
        sc.pp.log1p(cells)
    sc.pp.highly_variable_genes(reference, n_top_genes=N_VARIABLE)
    genes = reference.var_names[reference.var["highly_variable"]]
    scaler = StandardScaler()
    z = scaler.fit_transform(reference[:, genes].X.toarray())
    model = LogisticRegression(max_iter=1000).fit(z, reference.obs[column].astype(str))
    return model.predict(scaler.transform(query[:, genes].X.toarray()))


TOOLS = {"CellTypist": celltypist, "scanpy ingest": ingest, "logistic regression": regression}


if __name__ == "__main__":
    main()
