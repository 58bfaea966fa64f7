"""Make the practice data of the tutorials: a few cells and genes of the pancreas.

    python docs/tutorials/practice.py practice

The genes, their symbols and their GeneIDs are real (NCBI Gene); what is said about them was written
for these tutorials. The cells are made up: each type strongly expresses the ten genes that mark it.
Real data is not so clear.
"""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

GENES = Path(__file__).with_name("genes.tsv")
TYPES = ("alpha", "beta", "delta", "acinar", "ductal", "endothelial", "stellate")
"""The cell types of the reference. Macrophages are in the sample alone."""
INFO = (
    "#tax_id", "GeneID", "Symbol", "LocusTag", "Synonyms", "dbXrefs", "chromosome", "map_location",
    "description", "type_of_gene", "Symbol_from_nomenclature_authority",
    "Full_name_from_nomenclature_authority", "Nomenclature_status", "Other_designations",
    "Modification_date", "Feature_type",
)  # fmt: skip
"""The columns of NCBI's ``gene_info``."""


def read_genes() -> pd.DataFrame:
    """Return the genes: which type each marks, its names and what is said about it."""
    return pd.read_csv(GENES, sep="\t", quoting=csv.QUOTE_NONE)


def make_cells(types: list[str], seed: int, donors: int = 3) -> anndata.AnnData:
    """Return the counts of one cell of each of the types given.

    Parameters
    ----------
    types
        The type of each cell.
    seed
        Of the random numbers; another seed makes other cells.
    donors
        Cells are dealt out to so many donors, who differ a little.

    Returns
    -------
    AnnData
        (n_cells, n_genes) counts with ``obs['cell_type']`` and ``obs['donor']``.
    """
    genes, rng = read_genes(), np.random.default_rng(seed)
    marks = genes["marks"].to_numpy()
    donor = np.arange(len(types)) % donors
    rate = np.full((len(types), len(genes)), 0.3)
    rate[:, marks == "housekeeping"] = 6.0
    for row, cell_type in enumerate(types):
        rate[row, marks == cell_type] = 8.0
    rate *= rng.lognormal(0, 0.4, size=(donors, len(genes)))[donor]
    rate *= rng.lognormal(0, 0.3, size=(len(types), 1))
    counts = sp.csr_matrix(rng.poisson(rate).astype(np.float32))
    obs = pd.DataFrame(
        {"cell_type": types, "donor": [f"donor{number + 1}" for number in donor]},
        index=[f"cell-{seed}-{row}" for row in range(len(types))],
    )
    return anndata.AnnData(counts, obs, pd.DataFrame(index=genes["symbol"].to_numpy()))


def make_data(folder: Path) -> None:
    """Write the gene tables and the files of cells.

    ``reference.h5ad`` has labels, ``sample.h5ad`` is to be labeled, and ``more.h5ad`` are labeled
    cells of other donors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(GENES, folder)
    genes = read_genes()
    info = pd.DataFrame("-", index=genes.index, columns=INFO)
    info["#tax_id"] = 9606
    info["GeneID"], info["Symbol"], info["Synonyms"], info["description"] = (
        genes[name] for name in ("gene_id", "symbol", "synonyms", "name")
    )
    info["type_of_gene"] = "protein-coding"
    info.to_csv(folder / "gene_info.tsv", sep="\t", index=False, quoting=csv.QUOTE_NONE)
    said = pd.DataFrame({"#tax_id": 9606, "GeneID": genes["gene_id"], "Source": "practice"})
    said["Summary"] = genes["text"]
    said.to_csv(folder / "gene_summary.tsv", sep="\t", index=False, quoting=csv.QUOTE_NONE)
    make_cells(list(TYPES) * 30, 1).write_h5ad(folder / "reference.h5ad")
    sample = [*(list(TYPES) * 10), *(["macrophage"] * 10)]
    make_cells(sample, 2).write_h5ad(folder / "sample.h5ad")
    make_cells(list(TYPES) * 10, 3).write_h5ad(folder / "more.h5ad")


STEPS = (
    "genes import --store store --gene-info gene_info.tsv --gene-summary gene_summary.tsv",
    "genes embed --store store --runtime torch",  # OpenVINO rounds otherwise
    "cells index reference.h5ad --store store --name pancreas --label cell_type --batch donor",
)
"""The commands that make the practice store; the third tutorial explains them."""


def main() -> None:
    """Make the data and a store of them in a folder."""
    folder = Path(sys.argv[1])
    make_data(folder)
    command = Path(sys.executable).with_name("cellkin")
    for step in STEPS:
        subprocess.run([command, *step.split()], cwd=folder, check=True)
    sys.stdout.write(f"now: cd {folder} && cellkin serve --store store\n")


if __name__ == "__main__":
    main()
