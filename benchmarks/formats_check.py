"""Read the copies of formats.py again, by the libraries that wrote the files, and compare.

PYTHON benchmarks/formats_check.py TASKS.json RESULTS.jsonl
"""

import gzip
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp
from formats_cells import ANTIBODIES, Cells, kind_of, serve
from formats_forms import H5ADS, H5MU, SNAP, ZARRS, Form

with suppress(ImportError):
    import hdf5plugin  # noqa: F401  registers the filters

_MOST = 1e-6


class DifferenceError(Exception):
    """A copy has something else than it should."""


def check(task: dict[str, Any]) -> dict[str, Any]:
    """Compare a copy with its source, or with the cells where the source is no AnnData."""
    form, source, copy = Form(**task["form"]), Path(task["path"]), Path(task["target"])
    found = read(copy)
    compare_answers(found.obs, dict(np.load(task["answers"])))
    with unpacked(source) as path:
        if form.container == H5MU:
            compare(read(path), found, form, whole=True)
        elif form.container in (*H5ADS, *ZARRS, SNAP) or copy.suffix == form.suffix:
            compare(read(path), found, form, whole=form.suffix.startswith(copy.suffix))
        else:
            compare_cells(found, Cells(Path(task["cells"]), kind_of(form)))
    return {"error": ""}


def read(path: Path) -> anndata.AnnData:
    """Read AnnData, the genes of several modalities, or the only table."""
    if (path / "tables").is_dir():
        import spatialdata

        return spatialdata.read_zarr(path).tables["table"]
    if path.suffix == ".h5mu" or (path / "mod").is_dir():
        import mudata

        held = mudata.read_h5mu(path) if path.suffix == ".h5mu" else mudata.read_zarr(path)
        return held["rna"]
    if path.is_dir():
        return anndata.read_zarr(path)
    return anndata.read_h5ad(path)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Unpack a file for libraries that read none that is packed."""
    if path.suffix not in (".gz", ".zip"):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(plain)
        else:
            plain.write_bytes(gzip.decompress(path.read_bytes()))
        yield plain


def compare_answers(obs: pd.DataFrame, answers: dict[str, Any]) -> None:
    """Require the answers that the client gave to the same cells."""
    for name, known in answers.items():
        column = obs[f"cellkin_{name}"]
        if known.dtype.kind == "f":
            got = np.asarray(column, dtype=float)
            require(np.allclose(got, known, rtol=0, atol=_MOST, equal_nan=True), name)
        else:
            require([v or "" for v in values(column)] == known.tolist(), name)


def compare(known: anndata.AnnData, found: anndata.AnnData, form: Form, *, whole: bool) -> None:
    """Require that a copy has all that its source had; of another container X, obs and var."""
    genes = known.var
    x = known.X
    if not whole and form.extra.endswith("antibodies"):  # what are no genes is left out there
        is_gene = ~genes.index.isin(ANTIBODIES)
        genes, x = genes[is_gene], x[:, is_gene]
    elif not whole and form.place == "raw":
        genes, x = known.raw.var, known.raw.X
    elif not whole and form.place == "layer":
        x = known.layers["counts"]
    require(found.shape == (known.n_obs, len(genes)), f"shape {found.shape}")
    compare_frame(known.obs, found.obs, "obs", exact=whole)
    compare_frame(genes, found.var, "var", exact=whole)
    same_values(x, found.X, "X", exact=whole)
    if not whole:
        return
    require((known.raw is None) == (found.raw is None), "raw")
    if known.raw is not None:
        compare_frame(known.raw.var, found.raw.var, "raw/var", exact=True)
        same_values(known.raw.X, found.raw.X, "raw/X", exact=True)
    for name in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
        before, after = getattr(known, name), getattr(found, name)
        # Since 0.13 the layer None is X.
        for key in [key for key in before if key is not None]:
            require(key in after, f"{name}/{key} is lost")
            same_values(before[key], after[key], f"{name}/{key}", exact=True)


def compare_frame(known: pd.DataFrame, found: pd.DataFrame, what: str, *, exact: bool) -> None:
    """Require the names and columns that there were; exact ones also have the same types."""
    require(list(known.index) == list(found.index), f"names of {what}")
    if exact:
        require(known.index.name == found.index.name, f"name of the names of {what}")
    for name in known.columns:
        require(name in found.columns, f"{what}[{name!r}] is lost")
        before, after = known[name], found[name]
        require(values(before) == values(after), f"values of {what}[{name!r}]")
        if isinstance(before.dtype, pd.CategoricalDtype):
            require(before.dtype == after.dtype, f"categories of {what}[{name!r}]")
        elif exact:
            require(before.dtype == after.dtype, f"{what}[{name!r}] is {after.dtype}")


def compare_cells(found: anndata.AnnData, cells: Cells) -> None:
    """Require the names and counts of files that were no AnnData."""
    require(list(found.obs_names) == cells.cell_ids, "names of obs")
    require(set(cells.genes) <= set(found.var_names), "names of var")
    same_values(cells.counts, found[:, cells.genes].X, "X", exact=False)
    if "cell_type" in found.obs:
        require(values(found.obs["cell_type"]) == cells.types, "values of cell_type")


def same_values(known: Any, found: Any, what: str, *, exact: bool) -> None:
    """Require equal values of whatever AnnData holds; exact ones are held in the same way."""
    if isinstance(known, dict) or (hasattr(known, "keys") and not isinstance(known, pd.DataFrame)):
        for key in known:
            require(key in found, f"{what}/{key} is lost")
            same_values(known[key], found[key], f"{what}/{key}", exact=exact)
    elif isinstance(known, pd.DataFrame):
        compare_frame(known, found, what, exact=exact)
    elif sp.issparse(known) or sp.issparse(found):
        if exact:
            require(type(known) is type(found), f"{what} is {type(found).__name__}")
            require(known.dtype == found.dtype, f"{what} is of {found.dtype}")
        a, b = sp.csr_matrix(known), sp.csr_matrix(found)
        require(a.shape == b.shape and not (a != b).nnz, f"values of {what}")
    else:
        a, b = np.asarray(known), np.asarray(found)
        if exact:
            require(a.dtype == b.dtype, f"{what} is of {b.dtype}")
        is_plain = a.dtype.kind in "biuf"
        same = np.array_equal(a, b) if is_plain else a.tolist() == b.tolist()
        require(a.shape == b.shape and same, f"values of {what}")


def values(column: Any) -> list[Any]:
    """Return values that can be compared, None where one is missing."""
    held = pd.Series(np.asarray(column, dtype=object))
    return [None if gone else v for v, gone in zip(held, pd.isna(held), strict=True)]


def require(is_so: bool, what: str) -> None:
    """Raise unless something is as it should be."""
    if not is_so:
        raise DifferenceError(what)


if __name__ == "__main__":
    serve(check)
