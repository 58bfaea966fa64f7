"""The same small cells in every format, each file made by the library that owns the format."""

import gzip
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import loompy
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp
import zarr

N_CELLS, N_GENES = 90, 40
NULLABLE = {"allow_write_nullable_strings": True}
"""What has AnnData 0.12 write strings as pandas 3 has them, as 0.13 does of itself."""


def ensembl(n: int = N_GENES) -> list[str]:
    return [f"ENSG{i:011d}" for i in range(1, n + 1)]


def symbols(n: int = N_GENES) -> list[str]:
    return [f"GENE{i}" for i in range(1, n + 1)]


def sample(seed: int = 0, n_cells: int = N_CELLS) -> anndata.AnnData:
    """Counts, a layer of other counts, .raw with more genes, obs of several kinds."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.6, (n_cells, N_GENES + 5)).astype(np.float32)
    # A cell and a gene without a count; values in the first and the last column.
    counts[min(7, n_cells - 1)] = 0
    counts[:, 3] = 0
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(rng.choice(["alpha", "beta"], n_cells)),
            "depth": counts.sum(axis=1),
            "note": [f"n{i}" for i in range(n_cells)],
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    obs.loc[obs.index[2], "cell_type"] = None
    full = anndata.AnnData(
        sp.csr_matrix(counts),
        obs,
        pd.DataFrame(index=[*ensembl(), *(f"extra{i}" for i in "abcde")]),
    )
    data = full[:, :N_GENES].copy()
    data.raw = full
    data.layers["doubled"] = data.X * 2
    data.var["symbol"] = symbols()
    return data


def write_h5ad(data: anndata.AnnData, path: Path, compression: str | None = None) -> Path:
    data.write_h5ad(path, compression=compression)
    return path


def write_zarr(data: anndata.AnnData, path: Path, version: int) -> Path:
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=version):
        # Of anndata and zarr, on what their own next releases will do.
        warnings.filterwarnings("ignore", "zarr v3 autosharding|Writing zarr v2|Consolidated meta")
        data.write_zarr(path, convert_strings_to_categoricals=False)
    return path


def write_zarr_in_chunks(data: anndata.AnnData, path: Path, chunk: int) -> Path:
    """As `write_zarr`, with chunks of X that are small enough for a test to have several."""
    write_zarr(data, path, 3)
    root: Any = zarr.open_group(path)
    for name in ("data", "indices"):
        values = root["X"][name][:]
        root["X"].create_array(name, data=values, chunks=(chunk,), overwrite=True)
    return path


def write_loom(data: anndata.AnnData, path: Path, accession: str = "ENSG") -> Path:
    loompy.create(
        str(path),
        {"": data.X.T.toarray(), "doubled": data.layers["doubled"].T.toarray()},
        {
            "Gene": np.array(symbols()),
            "Accession": np.array([i.replace("ENSG", accession) for i in ensembl()]),
        },
        {
            "CellID": data.obs_names.to_numpy(),
            "cell_type": data.obs["cell_type"].astype(object).fillna("").to_numpy(),
            "depth": data.obs["depth"].to_numpy(),
        },
    )
    return path


# Two antibodies among the genes, so that what is kept is no prefix.
ANTIBODIES_AT = (1, 20)


def features(kinds: bool = True) -> list[tuple[str, str, str]]:
    rows = [(i, s, "Gene Expression") for i, s in zip(ensembl(), symbols(), strict=True)]
    if kinds:
        for at in ANTIBODIES_AT:
            rows.insert(at, (f"CD{at}", f"CD{at}_protein", "Antibody Capture"))
    return rows


def with_antibodies(data: anndata.AnnData) -> sp.csr_matrix:
    dense = data.X.toarray()
    for at in ANTIBODIES_AT:
        dense = np.insert(dense, at, 500, axis=1)
    return sp.csr_matrix(dense)


def write_10x_h5(data: anndata.AnnData, path: Path) -> Path:
    """Cell Ranger 3 and later: barcode-major, int32 counts, gzip."""
    x, rows = with_antibodies(data), features()
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        _write_compressed(group, x)
        group["barcodes"] = data.obs_names.to_numpy().astype("S")
        names = group.create_group("features")
        for at, key in enumerate(("id", "name", "feature_type")):
            names[key] = np.array([row[at] for row in rows], "S")
        names["genome"] = np.array(["GRCh38"] * len(rows), "S")
    return path


def write_10x_h5_v2(
    data: anndata.AnnData, path: Path, genomes: tuple[str, ...] = ("hg19",)
) -> Path:
    with h5py.File(path, "w") as file:
        for genome in genomes:
            group = file.create_group(genome)
            _write_compressed(group, data.X)
            group["barcodes"] = data.obs_names.to_numpy().astype("S")
            group["genes"] = np.array(ensembl(), "S")
            group["gene_names"] = np.array(symbols(), "S")
    return path


def _write_compressed(group: h5py.Group, x: sp.csr_matrix) -> None:
    group.create_dataset("data", data=x.data.astype(np.int32), compression="gzip", chunks=(64,))
    group.create_dataset("indices", data=x.indices.astype(np.int64), compression="gzip")
    group.create_dataset("indptr", data=x.indptr.astype(np.int64), compression="gzip")
    group["shape"] = np.array([x.shape[1], x.shape[0]], np.int32)


def write_10x_folder(data: anndata.AnnData, path: Path, packed: bool = True) -> Path:
    path.mkdir()
    rows = features(packed)
    x = with_antibodies(data) if packed else data.X
    mtx = path / "matrix.mtx"
    scipy.io.mmwrite(mtx, sp.csc_matrix(x.T.astype(np.int32)))
    lines = ["\t".join(row if packed else row[:2]) for row in rows]
    texts = {
        "features.tsv" if packed else "genes.tsv": lines,
        "barcodes.tsv": data.obs_names.tolist(),
        "matrix.mtx": mtx.read_text().splitlines(),
    }
    mtx.unlink()
    for name, content in texts.items():
        text = "\n".join(content) + "\n"
        if packed:
            (path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (path / name).write_text(text)
    return path


Maker = Callable[[anndata.AnnData, Path], Path]


def _of_matrix(change: Callable[[sp.csr_matrix], object]) -> Maker:
    def make(data: anndata.AnnData, folder: Path) -> Path:
        data = data.copy()
        data.X = change(data.X)
        return write_h5ad(data, folder / "cells.h5ad")

    return make


def _zipped(data: anndata.AnnData, folder: Path) -> Path:
    write_zarr(data, folder / "cells.zarr", 3)
    return Path(shutil.make_archive(str(folder / "zipped.zarr"), "zip", folder / "cells.zarr"))


# The name of a form, what makes it, the format it is found to be, and whether reading it is slow.
FORMS: dict[str, tuple[Maker, str, bool]] = {
    "h5ad": (lambda d, f: write_h5ad(d, f / "cells.h5ad"), "h5ad, uncompressed", False),
    "h5ad gzip": (lambda d, f: write_h5ad(d, f / "cells.h5ad", "gzip"), "h5ad, gzip", True),
    "h5ad lzf": (lambda d, f: write_h5ad(d, f / "cells.h5ad", "lzf"), "h5ad, lzf", True),
    "h5ad dense": (_of_matrix(lambda x: x.toarray()), "h5ad, dense, uncompressed", False),
    "h5ad csc": (_of_matrix(lambda x: x.tocsc()), "h5ad, CSC, uncompressed", False),
    "h5ad float64": (_of_matrix(lambda x: x.astype(np.float64)), "h5ad, uncompressed", False),
    "h5ad int64": (_of_matrix(lambda x: x.astype(np.int64)), "h5ad, uncompressed", False),
    "zarr v3": (lambda d, f: write_zarr(d, f / "cells.zarr", 3), "zarr v3, zstd", False),
    "zarr v2": (lambda d, f: write_zarr(d, f / "cells.zarr", 2), "zarr v2, blosc", False),
    "zarr zip": (_zipped, "zarr v3, zstd", False),
    "10x h5": (lambda d, f: write_10x_h5(d, f / "cells.h5"), "10x h5, gzip", True),
    "10x h5 v2": (lambda d, f: write_10x_h5_v2(d, f / "cells.h5"), "10x h5, gzip", True),
    "10x folder": (lambda d, f: write_10x_folder(d, f / "cells"), "10x folder", True),
    "10x folder v2": (lambda d, f: write_10x_folder(d, f / "cells", False), "10x folder", True),
    "loom": (lambda d, f: write_loom(d, f / "cells.loom"), "loom, gzip", True),
}


@pytest.fixture
def data() -> anndata.AnnData:
    """Cells every format can hold."""
    return sample()


@pytest.fixture
def make_form(tmp_path: Path) -> Callable[[str, anndata.AnnData], Path]:
    """Writes cells in a form of `FORMS`."""

    def make(form: str, data: anndata.AnnData) -> Path:
        return FORMS[form][0](data, tmp_path)

    return make


def as_dense(matrix: sp.csr_matrix) -> npt.NDArray[np.float32]:
    dense: npt.NDArray[np.float32] = matrix.toarray()
    return dense
