"""What the installed AnnData writes is labeled as the same cells in memory, and its copies read.

A part of the matrix of benchmarks/formats.py, which has other writers and versions too.
"""

import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from tests.conftest import TYPES

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import formats_check
import formats_client
import formats_writer
from formats_forms import BLOSC, H5AD, SHARDED, V12, V13, ZSTD, Form, of_anndata

pytestmark = pytest.mark.integration
WRITER = V12 if version("anndata").startswith("0.12.") else V13


def chosen() -> list[Form]:
    """Return every container, matrix, place and kind of column, but not all in each other."""
    return [
        form
        for number, form in enumerate(of_anndata(WRITER))
        if (form.matrix, form.extra, form.dtype) == ("csr", "", "float32")
        or (form.container == H5AD and number % 2)
        or (form.container == SHARDED and number % 3 == 0)
    ]


@pytest.fixture(scope="module")
def cells(make_cells: Callable[..., anndata.AnnData], tmp_path_factory: Any) -> Path:
    """A file of the cells that all forms hold."""
    sample = make_cells(40, 2)
    path: Path = tmp_path_factory.mktemp("forms") / "cells.npz"
    np.savez(
        path,
        counts=sample.X.toarray().astype(np.int64),
        cell_ids=np.array(sample.obs_names, "U"),
        genes=np.array(sample.var_names, "U"),
        types=np.array(sample.obs["cell_type"], "U"),
        donors=np.array(sample.obs["donor"], "U"),
    )
    return path


@pytest.mark.parametrize("form", chosen(), ids=lambda form: form.name.partition(", ")[2])
def test_a_form_is_read_labeled_and_written(
    form: Form, cells: Path, server: str, tmp_path: Path
) -> None:
    if form.container in (ZSTD, BLOSC) and find_spec("hdf5plugin") is None:
        pytest.skip("hdf5plugin is not installed")
    source, kept = tmp_path / f"cells{form.suffix}", cells.parent
    ending = ".zarr" if form.container.startswith("zarr") else ".h5ad"
    target = str(tmp_path / f"copy{ending}")
    task = {
        "form": asdict(form), "path": str(source), "cells": str(cells), "address": server,
        "index": "trio", "folder": str(kept), "targets": [target],
    }  # fmt: skip
    with warnings.catch_warnings():
        # Of the libraries, on what their own next releases will do.
        warnings.simplefilter("ignore")
        formats_writer.write(task)
        done = formats_client.annotate(task)
    assert done["error"] == ""
    assert done["written"] == [target]
    answers = dict(np.load(kept / "few.npz"))
    assert set(answers["winner"]) == set(TYPES)
    checked = {**task, "target": target, "answers": str(kept / "few.npz")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        formats_check.check(checked)
