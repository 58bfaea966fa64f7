"""No pickle is loaded from a file that came from elsewhere: it could run any code."""

import ast
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellkin.indexer.embeddings.vector_files import read_vectors
from cellkin.matrices.cells import open_cells
from cellkin.wire.errors import CellkinError

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / part for part in ("store", "indexer", "server", "clients")]
LOADERS = {
    ("pickle", "load"), ("pickle", "loads"), ("pickle", "Unpickler"), ("pickle", "_loads"),
    ("joblib", "load"), ("torch", "load"), ("marshal", "loads"), ("marshal", "load"),
    ("shelve", "open"), ("dill", "load"), ("dill", "loads"), ("cloudpickle", "loads"),
    ("pd", "read_pickle"), ("pandas", "read_pickle"), ("yaml", "load"), ("builtins", "eval"),
}  # fmt: skip
OWN = {
    # What a job's process hands to its workers, in a folder that it made for itself.
    "indexer/cellkin/indexer/cells/engines.py": 1,
}


def loads(path: Path) -> Iterator[str]:
    """Yield the calls in a module that load pickles, or may."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in {module for module, _ in LOADERS}:
            yield from (n.name for n in node.names if (node.module, n.name) in LOADERS)
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            ):
                yield "allow_pickle"
        called = node.func
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            if (called.value.id, called.attr) in LOADERS:
                yield f"{called.value.id}.{called.attr}"
        elif isinstance(called, ast.Name) and called.id in ("eval", "exec"):
            yield called.id


def test_no_module_loads_a_pickle_but_for_its_own_processes() -> None:
    modules = [path for source in SOURCES for path in source.rglob("*.py")]
    assert len(modules) > 100
    found = {str(path.relative_to(ROOT)): list(loads(path)) for path in modules}
    assert {path: len(calls) for path, calls in found.items() if calls} == OWN


@pytest.mark.parametrize(
    "code",
    ["import pickle\npickle.loads(b'')", "from pickle import loads", "torch.load(path)",
     "np.load(path, allow_pickle=True)", "np.load(path, allow_pickle=given)", "eval(text)"],
)  # fmt: skip
def test_what_loads_a_pickle_is_found(code: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(code)
    assert len(list(loads(path))) == 1


class Mark:
    """Leaves a file behind where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_vectors_with_a_pickle_are_refused(tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "vectors.npz"
    genes = np.array([Mark(mark)], object)
    np.savez(path, genes=genes, vectors=np.ones((1, 3), np.float32))
    mark.unlink(missing_ok=True)
    with pytest.raises(CellkinError):
        read_vectors(path)
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")
def test_a_zarr_whose_chunks_are_pickles_is_refused(tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "cells.zarr"
    obs = pd.DataFrame(index=[f"c{i}" for i in range(5)])
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(4)])
    adata = anndata.AnnData(sp.csr_matrix(np.ones((5, 4), np.float32)), obs, var)
    with anndata.settings.override(zarr_write_format=2):
        adata.write_zarr(path)
    with open_cells(path) as cells:
        assert cells.rows(0, 5).sum() == 20
    array = path / "X/data"
    meta = json.loads((array / ".zarray").read_text())
    meta |= {"filters": [{"id": "pickle", "protocol": 5}], "compressor": None}
    (array / ".zarray").write_text(json.dumps(meta))
    (array / "0").write_bytes(pickle.dumps(Mark(mark)))
    whole = json.loads((path / ".zmetadata").read_text())
    whole["metadata"]["X/data/.zarray"] = meta
    (path / ".zmetadata").write_text(json.dumps(whole))
    with pytest.raises(CellkinError), open_cells(path) as cells:
        cells.rows(0, 5)
    assert not mark.exists()
