"""Write files as formats.py asks, by the libraries of the interpreter that runs this.

PYTHON benchmarks/formats_writer.py TASKS.json RESULTS.jsonl
"""

import gzip
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata
import formats_others
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from formats_cells import N_SHOWN, Cells, kind_of, logarithms, serve
from formats_forms import BLOSC, GZIP, H5ADS, LZF, SHARDED, ZARR2, ZARRS, ZSTD, Form

VERSION = tuple(int(part) for part in version("anndata").split(".")[:2])


def write(task: dict[str, Any]) -> dict[str, Any]:
    """Write one form."""
    form, path = Form(**task["form"]), Path(task["path"])
    cells = Cells(Path(task["cells"]), kind_of(form))
    if form.container in formats_others.WRITERS:
        formats_others.WRITERS[form.container](form, cells, path)
    elif form.writer.startswith("scanpy"):
        save(formats_others.of_scanpy(form, cells, path), form, path)
    else:
        save(of_anndata(form, cells), form, path)
    return {}


# ---- AnnData in memory --------------------------------------------------------------------------


def of_anndata(form: Form, cells: Cells) -> anndata.AnnData:
    """Return a form's cells."""
    counts = matrix(form, cells.stored)
    logs = logarithms(cells.counts)
    obs, var = frames(form.extra, cells)
    if form.place == "raw":
        full = bare(obs, var, counts)
        adata = full[:, :N_SHOWN].copy()
        adata.X = logs[:, :N_SHOWN]
        adata.raw = full
    elif form.place == "layer":
        adata = bare(obs, var, logs)
        adata.layers["counts"] = counts
    else:
        adata = bare(obs, var, counts)
    if form.extra == "view":
        backwards = anndata.concat([adata[::-1]]) if VERSION >= (0, 8) else adata
        backwards.var = var
        adata = backwards[::-1]
    if form.extra == "nested uns":
        add_everything(adata, cells)
    return adata


def bare(obs: pd.DataFrame, var: pd.DataFrame, x: Any) -> anndata.AnnData:
    """Return AnnData whose X keeps its type, which older constructors change."""
    adata = anndata.AnnData(obs=obs.copy(), var=var.copy())
    adata.X = x
    return adata


def matrix(form: Form, counts: sp.csr_matrix) -> Any:
    """Return counts as the form holds them."""
    x = sp.csr_matrix(counts, dtype=form.dtype)
    if form.extra == "explicit zeros":
        n_cells, n_genes = x.shape
        every = np.tile(np.arange(n_genes), n_cells)
        x = sp.csr_matrix((x.toarray().ravel(), every, np.arange(n_cells + 1) * n_genes), x.shape)
    if form.matrix in ("dense", "fortran"):
        dense = x.toarray()
        return np.asfortranarray(dense) if form.matrix == "fortran" else dense
    if form.matrix == "csc":
        return x.tocsc()
    if form.extra == "unsorted":
        for begin, end in zip(x.indptr[:-1], x.indptr[1:], strict=True):
            for array in (x.indices, x.data):
                array[begin:end] = array[begin:end][::-1].copy()
        x.has_sorted_indices = False
    if form.extra == "int64 indices":
        x.indices, x.indptr = x.indices.astype(np.int64), x.indptr.astype(np.int64)
    return x


def frames(extra: str, cells: Cells) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return obs and var with what is special in them."""
    rng = np.random.default_rng(5)
    obs, var = pd.DataFrame(index=cells.cell_ids), pd.DataFrame(index=cells.genes)
    if extra == "no columns":
        return obs, var
    for frame, what in ((obs, "cell"), (var, "gene")):
        n = len(frame)
        frame["depth"] = rng.random(n)
        frame["number"] = np.arange(n)
        if extra == "string columns":
            frame["alone"] = [f"{what} {at}" for at in range(n)]
            frame["gene_ids"] = [f"ID{at:08d}" for at in range(n)]
            frame["few"] = np.where(np.arange(n) % 2, "one", "other")
        elif extra == "nullable strings":
            values = [None if at % 7 == 0 else f"{what} {at}" for at in range(n)]
            frame["alone"] = pd.array(values, dtype="string")
            frame["few"] = pd.array(["one"] * n, dtype="string")
        elif extra == "categories":
            few = np.where(np.arange(n) % 2, "low", "high").tolist()
            kinds = ["low", "middle", "high"]
            frame["unused"] = pd.Categorical(few, categories=kinds)
            frame["ordered"] = pd.Categorical(few, categories=kinds, ordered=True)
            frame["missing"] = pd.Categorical([None, *few[1:]], categories=kinds)
            frame["numbers"] = pd.Categorical(np.arange(n) % 3)
        elif extra == "bool columns":
            frame["true"] = np.arange(n) % 2 == 0
            frame["maybe"] = pd.array([None, *([True, False] * n)][:n], dtype="boolean")
        elif extra == "missing numbers":
            frame["whole"] = pd.array([None, *range(n)][:n], dtype="Int64")
            frame["half"] = [np.nan, *np.arange(n - 1) / 2]
            frame["small"] = np.arange(n).astype(np.int8)
        elif extra == "slashes":
            frame["umi/gene"] = rng.random(n)
        elif extra == "named index":
            frame.index.name = "barcode" if what == "cell" else "symbol"
    obs["cell_type"] = pd.Categorical(cells.types)
    obs["donor"] = cells.donors
    return obs, var


def add_everything(adata: anndata.AnnData, cells: Cells) -> None:
    """Fill what AnnData has beside X, obs and var."""
    n, m = adata.shape
    rng = np.random.default_rng(6)
    adata.obsm["X_pca"] = rng.random((n, 5), np.float32)
    adata.obsm["frame"] = pd.DataFrame({"a": np.arange(n)}, index=adata.obs_names)
    adata.varm["PCs"] = rng.random((m, 5))
    adata.obsp["distances"] = sp.random(n, n, 0.05, "csr", random_state=0)
    adata.varp["pairs"] = sp.random(m, m, 0.05, "csr", random_state=0)
    adata.uns = {
        "nested": {"deep": {"list": np.arange(3), "text": "words", "none of it": {}}},
        "table": pd.DataFrame({"p": [0.1, 0.2], "name": ["a", "b"]}),
        "names": np.array(["a", "b"], dtype=object),
        "ranks": np.array([("INS", 1.0)], dtype=[("gene", "O"), ("score", "f4")]),
        "flag": True,
        "number": 3,
    }


# ---- files --------------------------------------------------------------------------------------


def save(adata: anndata.AnnData, form: Form, path: Path) -> None:
    """Write AnnData into a form's container."""
    settings: dict[str, Any] = {}
    if form.extra == "nullable strings":
        settings["allow_write_nullable_strings"] = True
    if form.extra == "small indices":
        settings["write_csr_csc_indices_with_min_possible_dtype"] = True
    if form.container in ZARRS and VERSION >= (0, 12):
        settings["zarr_write_format"] = 2 if form.container == ZARR2 else 3
        settings["auto_shard_zarr_v3"] = form.container == SHARDED
    plain = path.with_suffix("") if form.extra in ("packed whole", "zipped") else path
    if not settings:
        _save(adata, form, plain)
    else:
        with anndata.settings.override(**settings):
            _save(adata, form, plain)
    if form.extra == "packed whole":
        path.write_bytes(gzip.compress(plain.read_bytes(), 1))
        plain.unlink()
    if form.extra == "zipped":
        shutil.make_archive(str(plain), "zip", plain)
        shutil.rmtree(plain)


def _save(adata: anndata.AnnData, form: Form, path: Path) -> None:
    if form.container in ZARRS:
        adata.write_zarr(path)
        return
    assert form.container in H5ADS
    if form.extra == "scanpy.write":
        import scanpy

        scanpy.write(path, adata, compression="gzip" if form.container == GZIP else None)
        return
    if form.extra == "backed":
        _save_backed(adata, path)
        return
    adata.write_h5ad(path, **_packing(form.container))
    if form.container == BLOSC:
        _pack_by_blosc(path)
    if form.extra == "bytes attributes":
        with h5py.File(path, "r+") as file:
            _make_bytes(file)
            file.visititems(lambda _, node: _make_bytes(node))


def _packing(container: str) -> dict[str, Any]:
    if container == ZSTD:
        import hdf5plugin

        return dict(hdf5plugin.Zstd())
    return {"compression": {GZIP: "gzip", LZF: "lzf"}.get(container)}


def _pack_by_blosc(path: Path) -> None:
    """Pack numbers by Blosc, which ends the process of who has AnnData pack strings by it."""
    import hdf5plugin

    numbers = []
    with h5py.File(path, "r+") as file:
        file.visititems(
            lambda name, node: (
                numbers.append(name)
                if isinstance(node, h5py.Dataset) and node.size and node.shape
                and node.dtype.kind in "iuf"
                else None
            )
        )  # fmt: skip
        for name in numbers:
            values, attributes = file[name][:], dict(file[name].attrs)
            del file[name]
            file.create_dataset(name, data=values, **hdf5plugin.Blosc())
            file[name].attrs.update(attributes)


def _save_backed(adata: anndata.AnnData, path: Path) -> None:
    """Write a file, open it backed, change it, and have it written in place."""
    adata.write_h5ad(path)
    backed = anndata.read_h5ad(path, backed="r+")
    backed.obs["changed"] = np.arange(backed.n_obs)
    backed.uns["changed"] = "yes"
    backed.write()
    backed.file.close()


def _make_bytes(node: Any) -> None:
    """Turn an attribute that is text into a string of fixed length, as R and C write them."""
    for name, value in list(node.attrs.items()):
        if isinstance(value, str):
            node.attrs[name] = np.bytes_(value.encode())


if __name__ == "__main__":
    serve(write)
