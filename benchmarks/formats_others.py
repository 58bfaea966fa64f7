"""Writers of formats.py that are not AnnData's own.

Cell Ranger itself cannot be run: its layouts are written as 10x Genomics documents them.
"""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp
from formats_cells import ANTIBODIES, N_SHOWN, Cells, logarithms
from formats_forms import FOLDER, FOLDER_2, H5MU, LOOM, MODALITIES, SNAP, TABLES, TENX, TENX_2, Form


def with_antibodies(cells: Cells, rate: float = 40) -> tuple[sp.csr_matrix, list[str], list[str]]:
    """Return counts with antibodies behind the genes, their names and their types."""
    rng = np.random.default_rng(9)
    counts = rng.poisson(rate, (len(cells.cell_ids), len(ANTIBODIES)))
    x = sp.hstack([cells.counts, sp.csr_matrix(counts.astype(np.float64))], format="csr")
    kinds = ["Gene Expression"] * len(cells.genes) + ["Antibody Capture"] * len(ANTIBODIES)
    return x, [*cells.genes, *ANTIBODIES], kinds


# ---- Cell Ranger --------------------------------------------------------------------------------


def features(form: Form, cells: Cells) -> tuple[sp.csc_matrix, list[tuple[str, str, str]]]:
    """Return counts, and the id, name and type of each feature."""
    x, names, kinds = with_antibodies(cells)
    if not form.extra.endswith("antibodies"):
        x, names, kinds = cells.counts, cells.genes, kinds[: len(cells.genes)]
    ids = [f"ID{at:08d}" for at in range(len(names))]
    return sp.csc_matrix(x.T.astype(np.int32)), list(zip(ids, names, kinds, strict=True))


def write_10x_h5(form: Form, cells: Cells, path: Path) -> None:
    """Write the HDF5 file of version 3 or 2."""
    x, rows = features(form, cells)
    ids, names, kinds = (np.array(column, "S") for column in zip(*rows, strict=True))
    is_old = form.container == TENX_2
    with h5py.File(path, "w") as file:
        group = file.create_group("GRCh38" if is_old else "matrix")
        for name in ("data", "indices", "indptr"):
            values = getattr(x, name)
            group.create_dataset(name, data=values, compression="gzip", chunks=(len(values),))
        group["shape"] = np.array(x.shape, np.int32)
        group["barcodes"] = np.array(cells.cell_ids, "S")
        if is_old:
            group["genes"], group["gene_names"] = ids, names
            return
        held = group.create_group("features")
        held["id"], held["name"], held["feature_type"] = ids, names, kinds
        held["genome"] = np.array(["GRCh38"] * len(rows), "S")
        held["_all_tag_keys"] = np.array(["genome"], "S")


def write_10x_folder(form: Form, cells: Cells, path: Path) -> None:
    """Write the folder of version 3 or 2, packed or not, plain or with a sample's name before."""
    path.mkdir()
    x, rows = features(form, cells)
    is_old = form.container == FOLDER_2
    before = "GSM1234567_sample1_" if form.extra == "prefixed" else ""
    matrix = path / "matrix.mtx"
    scipy.io.mmwrite(matrix, x)
    lines = ["\t".join(row[: 2 if is_old else 3]) for row in rows]
    texts = {
        "genes.tsv" if is_old else "features.tsv": "\n".join([*lines, ""]),
        "barcodes.tsv": "\n".join([*cells.cell_ids, ""]),
        "matrix.mtx": matrix.read_text(),
    }
    matrix.unlink()
    for name, text in texts.items():
        if form.extra == "plain":
            (path / (before + name)).write_text(text)
        else:
            (path / f"{before}{name}.gz").write_bytes(gzip.compress(text.encode()))


# ---- scanpy -------------------------------------------------------------------------------------


def of_scanpy(form: Form, cells: Cells, path: Path) -> anndata.AnnData:
    """Return AnnData that scanpy has read from Cell Ranger's files, or worked on."""
    import scanpy

    if form.extra == "scanpy.write":
        adata = anndata.AnnData(
            cells.counts.toarray() if form.matrix == "dense" else cells.counts.astype(np.float32),
            pd.DataFrame({"donor": cells.donors}, index=cells.cell_ids),
            pd.DataFrame(index=cells.genes),
        )
        adata.obs["cell_type"] = cells.types
        return adata
    source = path.with_name(path.name + ".source")
    if form.extra == "read_10x_mtx":
        write_10x_folder(Form("", FOLDER, extra="gzip"), cells, source)
        adata = scanpy.read_10x_mtx(source)
    else:
        with_others = form.extra.endswith("antibodies")
        write_10x_h5(Form("", TENX, extra=form.extra), cells, source)
        adata = scanpy.read_10x_h5(source, gex_only=not with_others)
    adata.obs["cell_type"] = pd.Categorical(cells.types)
    adata.obs["donor"] = cells.donors
    if form.extra == "pipeline":
        adata = _worked_on(scanpy, adata, form)
    return adata


def _worked_on(scanpy: Any, adata: anndata.AnnData, form: Form) -> anndata.AnnData:
    """Do what the tutorials of scanpy do."""
    scanpy.pp.calculate_qc_metrics(adata, percent_top=None, inplace=True)
    if form.place == "layer":
        adata.layers["counts"] = adata.X.copy()
    else:
        adata.raw = adata
    scanpy.pp.normalize_total(adata, target_sum=1e4)
    scanpy.pp.log1p(adata)
    scanpy.pp.highly_variable_genes(adata, n_top_genes=N_SHOWN)
    if form.place == "raw":
        adata = adata[:, adata.var["highly_variable"]].copy()
    scanpy.pp.pca(adata, n_comps=10)
    scanpy.pp.neighbors(adata, n_neighbors=10)
    scanpy.tl.rank_genes_groups(adata, "cell_type", method="t-test", use_raw=False)
    return adata


# ---- mudata, SpatialData, loompy, SnapATAC2 -----------------------------------------------------


def write_mudata(form: Form, cells: Cells, path: Path) -> None:
    """Write genes and antibodies as two modalities."""
    import mudata
    from formats_writer import of_anndata

    rna = of_anndata(form, cells)
    proteins = anndata.AnnData(
        with_antibodies(cells)[0][:, len(cells.genes) :].astype(np.float32),
        pd.DataFrame(index=cells.cell_ids),
        pd.DataFrame(index=ANTIBODIES),
    )
    both = mudata.MuData({"prot": proteins, "rna": rna})
    both.write_h5mu(path) if form.container == H5MU else both.write_zarr(path)


def write_spatialdata(form: Form, cells: Cells, path: Path) -> None:
    """Write a table that is about no image."""
    import spatialdata
    from formats_writer import of_anndata

    spatialdata.SpatialData(tables={"table": of_anndata(form, cells)}).write(path)


def write_loom(form: Form, cells: Cells, path: Path) -> None:
    """Write genes by cells."""
    import loompy

    counts = sp.coo_matrix(cells.counts.T.astype(form.dtype))
    x: Any = counts.toarray() if form.matrix == "dense" else counts
    if form.place == "layer":
        x = {"": logarithms(cells.counts).T.toarray(), "counts": counts.toarray()}
    loompy.create(
        str(path),
        x,
        {"Gene": np.array(cells.genes), "Number": np.arange(len(cells.genes))},
        {"CellID": np.array(cells.cell_ids), "cell_type": np.array(cells.types)},
    )


def write_snapatac2(form: Form, cells: Cells, path: Path) -> None:
    """Write AnnData as SnapATAC2 keeps it: packed by Blosc."""
    import snapatac2

    x: Any = cells.counts.astype(form.dtype)
    held = snapatac2.AnnData(
        X=x.toarray() if form.matrix == "dense" else x,
        obs={"cell_type": cells.types, "depth": np.arange(len(cells.types)) / 2},
        var={"number": np.arange(len(cells.genes))},
        filename=path,
    )
    held.obs_names, held.var_names = cells.cell_ids, cells.genes
    if form.extra != "to memory":
        held.close()
        return
    adata = held.to_memory()
    held.close()
    path.unlink()
    adata.write_h5ad(path)


WRITERS: dict[str, Callable[[Form, Cells, Path], None]] = {
    TENX: write_10x_h5,
    TENX_2: write_10x_h5,
    FOLDER: write_10x_folder,
    FOLDER_2: write_10x_folder,
    H5MU: write_mudata,
    MODALITIES: write_mudata,
    TABLES: write_spatialdata,
    LOOM: write_loom,
    SNAP: write_snapatac2,
}
"""By the container they write."""
