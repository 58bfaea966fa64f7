"""The forms of formats.py: who writes them, into what, and what is in them.

Interpreters of every environment read this file, so it needs no package, and no Python above 3.10.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

H5AD, GZIP, LZF, ZSTD, BLOSC = "h5ad", "h5ad gzip", "h5ad lzf", "h5ad zstd", "h5ad blosc"
ZARR2, ZARR3, SHARDED = "zarr v2", "zarr v3", "zarr v3 sharded"
H5MU, MODALITIES, TABLES = "h5mu", "zarr of modalities", "zarr of tables"
LOOM, SNAP = "loom", "h5ad of snapatac2"
TENX, TENX_2, FOLDER, FOLDER_2 = "10x h5", "10x h5, v2", "10x folder", "10x folder, v2"
H5ADS, ZARRS = (H5AD, GZIP, LZF, ZSTD, BLOSC), (ZARR2, ZARR3, SHARDED)
MATRICES = ("csr", "csc", "dense", "fortran")


@dataclass(frozen=True)
class Environment:
    """A Python with exact versions of packages.

    Parameters
    ----------
    python
        Version of the interpreter.
    packages
        What is installed into it.
    without
        Of what they require, what the files do not need and would be compiled for minutes.
    """

    python: str
    packages: tuple[str, ...]
    without: tuple[str, ...] = ()


_ANNDATA_08 = (
    "anndata==0.8.0", "h5py==3.8.0", "numcodecs==0.11.0", "numpy==1.23.5", "pandas==1.5.3",
    "scipy==1.10.1", "zarr==2.13.6",
)  # fmt: skip
_ANNDATA_10 = (
    "anndata==0.10.9", "h5py==3.11.0", "numcodecs==0.13.1", "numpy==1.26.4", "pandas==2.2.3",
    "scipy==1.14.1", "zarr==2.18.3",
)  # fmt: skip
_ANNDATA_12 = (
    "anndata==0.12.19", "h5py==3.16.0", "numpy==2.4.6", "pandas==2.3.3", "scipy==1.17.1",
    "zarr==3.1.6",
)  # fmt: skip
_ANNDATA_13 = (
    "anndata==0.13.4", "h5py==3.16.0", "numpy==2.5.5", "pandas==3.1.1", "scipy==1.18.1",
    "zarr==3.4.2",
)  # fmt: skip

V8, V10, V12, V13, V13B = (
    "anndata 0.8", "anndata 0.10", "anndata 0.12", "anndata 0.13", "anndata 0.13, Python 3.13",
)  # fmt: skip
LAYOUTS = "Cell Ranger's layouts"
WRITERS = {
    V8: Environment("3.10", (*_ANNDATA_08, "hdf5plugin==4.1.1")),
    V10: Environment("3.11", (*_ANNDATA_10, "hdf5plugin==5.0.0")),
    V12: Environment("3.11", (*_ANNDATA_12, "hdf5plugin==7.1.0")),
    V13: Environment("3.12", (*_ANNDATA_13, "hdf5plugin==7.1.0")),
    V13B: Environment("3.13", (*_ANNDATA_13, "hdf5plugin==7.1.0")),
    "scanpy 1.9": Environment("3.10", (*_ANNDATA_08, "matplotlib==3.7.1", "scanpy==1.9.3")),
    "scanpy 1.12": Environment("3.12", (*_ANNDATA_13, "scanpy==1.12.4")),
    "mudata 0.3": Environment("3.11", (*_ANNDATA_10, "mudata==0.3.1")),
    "mudata 0.4": Environment("3.12", (*_ANNDATA_13, "mudata==0.4.1")),
    "spatialdata 0.8": Environment("3.12", (*_ANNDATA_13, "spatialdata==0.8.0")),
    "loompy 3": Environment("3.12", (*_ANNDATA_13, "loompy==3.0.8", "setuptools==80.9.0")),
    "snapatac2 2.10": Environment(
        "3.12", (*_ANNDATA_12, "hdf5plugin==7.1.0", "snapatac2==2.10.0"), without=("macs3",)
    ),
    LAYOUTS: Environment("3.12", _ANNDATA_13),
}
"""By what writes the files. Each also has the AnnData that reads what comes back."""

CLIENTS = {
    "anndata 0.12": Environment("3.11", (*_ANNDATA_12, "hdf5plugin==7.1.0")),
    "anndata 0.13": Environment("3.12", (*_ANNDATA_13, "hdf5plugin==7.1.0")),
}
"""By the AnnData beside the client that labels the files."""


@dataclass(frozen=True)
class Form:
    """One file of the matrix.

    Parameters
    ----------
    writer
        One of `WRITERS`.
    container
        What the file is.
    matrix, dtype
        How the counts are held: one of `MATRICES`, and a type of numpy's.
    place
        Where the counts are: ``X``, ``layer`` or ``raw``; X then holds logarithms.
    extra
        What else is special about it; formats_writer.py knows the words.
    many
        Whether it has more than a million stored values.
    """

    writer: str
    container: str
    matrix: str = "csr"
    dtype: str = "float32"
    place: str = "X"
    extra: str = ""
    many: bool = False

    @property
    def name(self) -> str:
        """Return what no other form is called."""
        parts = (self.writer, self.container, self.matrix, self.dtype, self.place, self.extra)
        return ", ".join([part for part in parts if part] + ["many"] * self.many)

    @property
    def suffix(self) -> str:
        """Return how the name of the file ends."""
        if self.container.startswith("zarr"):
            return ".zarr.zip" if self.extra == "zipped" else ".zarr"
        if self.container.startswith("h5ad"):
            return ".h5ad.gz" if self.extra == "packed whole" else ".h5ad"
        ends = {H5MU: ".h5mu", LOOM: ".loom", TENX: ".h5", TENX_2: ".h5"}
        return ends.get(self.container, "")


FRAMES = (
    "string columns", "categories", "bool columns", "missing numbers", "no columns", "named index",
)  # fmt: skip
"""What is special in obs and var."""
VALUES = ("unsorted", "explicit zeros", "int64 indices", "view", "nested uns")
"""What is special in X, or beside it."""
_H5AD_ONLY = ("backed", "bytes attributes", "packed whole")


def forms() -> list[Form]:
    """Return every form, no two alike."""
    found = [
        *(form for writer in (V8, V10, V12, V13) for form in of_anndata(writer)),
        *_of_newest_python(), *_many(), *_of_scanpy(), *_of_mudata(), *_of_spatialdata(),
        *_of_loompy(), *_of_snapatac2(), *_of_cell_ranger(),
    ]  # fmt: skip
    return list(dict.fromkeys(found))


def of_anndata(writer: str) -> Iterator[Form]:
    """Yield the forms of few values that one AnnData writes."""
    is_new = writer in (V12, V13)
    zarrs = ZARRS if is_new else (ZARR2,)
    main = (H5AD, zarrs[-1])
    for container, matrix in product((*H5ADS, *zarrs), MATRICES):
        yield Form(writer, container, matrix)
    for container, matrix, dtype in product(main, ("csr", "dense"), ("int32", "int64", "float64")):
        yield Form(writer, container, matrix, dtype)
    for container, matrix, place in product(main, ("csr", "csc", "dense"), ("layer", "raw")):
        yield Form(writer, container, matrix, place=place)
    for container, extra in product(main, (*FRAMES, *VALUES)):
        yield Form(writer, container, extra=extra)
    for matrix, extra in product(("csr", "dense"), _H5AD_ONLY):
        yield Form(writer, H5AD, matrix, extra=extra)
    for container in zarrs:
        yield Form(writer, container, extra="zipped")
    if is_new:
        for container, extra in product((H5AD, *zarrs), ("nullable strings", "small indices")):
            yield Form(writer, container, extra=extra)
    if writer != V13:  # refuses such names
        for place in ("X", "layer", "raw"):
            yield Form(writer, H5AD, place=place, extra="slashes")


def _of_newest_python() -> Iterator[Form]:
    for container in (*H5ADS, *ZARRS):
        yield Form(V13B, container)
    for container, extra in product((H5AD, SHARDED), ("string columns", "nullable strings")):
        yield Form(V13B, container, extra=extra)
    for container, place in product((H5AD, SHARDED), ("layer", "raw")):
        yield Form(V13B, container, place=place)


def _many() -> Iterator[Form]:
    for writer, matrix in product((V12, V13), ("csr", "csc", "dense")):
        yield Form(writer, SHARDED, matrix, many=True)
    for writer, container in ((V8, ZARR2), (V10, ZARR2), (V12, ZARR3), (V13, ZARR3)):
        yield Form(writer, GZIP, many=True)
        yield Form(writer, container, many=True)
    for container in (ZARR3, SHARDED, H5AD):
        yield Form(V13, container, extra="zeros in place", many=True)
    for place in ("layer", "raw"):
        yield Form(V13, SHARDED, place=place, many=True)
    yield Form(V13, ZSTD, many=True)


def _of_scanpy() -> Iterator[Form]:
    for writer, zarr in (("scanpy 1.9", ZARR2), ("scanpy 1.12", SHARDED)):
        for container, matrix in product((H5AD, GZIP), ("csr", "dense")):
            yield Form(writer, container, matrix, extra="scanpy.write")
        for container in (H5AD, zarr):
            for extra in ("read_10x_h5", "read_10x_h5 with antibodies", "read_10x_mtx"):
                yield Form(writer, container, extra=extra)
            for place in ("layer", "raw"):
                yield Form(writer, container, place=place, extra="pipeline")


def _of_mudata() -> Iterator[Form]:
    for writer, container in product(("mudata 0.3", "mudata 0.4"), (H5MU, MODALITIES)):
        for matrix in ("csr", "csc", "dense"):
            yield Form(writer, container, matrix)
        for place in ("layer", "raw"):
            yield Form(writer, container, place=place)


def _of_spatialdata() -> Iterator[Form]:
    for matrix in ("csr", "dense"):
        yield Form("spatialdata 0.8", TABLES, matrix)
    for place in ("layer", "raw"):
        yield Form("spatialdata 0.8", TABLES, place=place)


def _of_loompy() -> Iterator[Form]:
    loom = Form("loompy 3", LOOM, "dense")
    for matrix, dtype in product(("csc", "dense"), ("float32", "int32", "float64")):
        yield replace(loom, matrix=matrix, dtype=dtype)
    yield replace(loom, place="layer")


def _of_snapatac2() -> Iterator[Form]:
    snap = Form("snapatac2 2.10", SNAP)
    for matrix, dtype in product(("csr", "dense"), ("float32", "float64", "int32")):
        yield replace(snap, matrix=matrix, dtype=dtype)
    yield replace(snap, extra="to memory")


def _of_cell_ranger() -> Iterator[Form]:
    for container in (TENX, TENX_2):
        yield Form(LAYOUTS, container, "csc", "int32")
    for container, extra in product((FOLDER, FOLDER_2), ("gzip", "plain", "prefixed")):
        yield Form(LAYOUTS, container, "csc", "int32", extra=extra)
    for container in (TENX, FOLDER):
        yield Form(LAYOUTS, container, "csc", "int32", extra="antibodies")
