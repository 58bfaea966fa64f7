"""Label the files of formats.py by the client, and write the copies that are to be read again.

PYTHON benchmarks/formats_client.py TASKS.json RESULTS.jsonl
"""

import atexit
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from formats_cells import Cells, kind_of, serve
from formats_forms import H5AD, Form

from cellkin.client import Client, tl
from cellkin.client.annotate import write_annotation
from cellkin.matrices.cells import open_cells
from cellkin.matrices.options import ReadOptions

COLUMNS = ("label", "winner", "probability", "winner_probability", "reason")
"""What is compared, of the columns of obs; formats_check.py reads them from files."""
_MOST = 1e-6


@cache
def connected(address: str) -> Client:
    """Return the client, which lives as long as the process."""
    client = Client(address)
    atexit.register(client.close)
    return client


@lru_cache(maxsize=3)
def cells_of(path: str, kind: str) -> Cells:
    """Return the cells of forms, read once."""
    return Cells(Path(path), kind)


@cache
def expected(cells: str, address: str, index: str, folder: str, kind: str) -> dict[str, Any]:
    """Return the answers to cells that never were in a file, and keep them for others."""
    held = cells_of(cells, kind)
    obs, var = pd.DataFrame(index=held.cell_ids), pd.DataFrame(index=held.genes)
    adata = anndata.AnnData(held.counts.astype(np.float32), obs, var)
    tl.annotate(adata, index, client=connected(address))
    answers = answers_of(adata.obs)
    np.savez(Path(folder) / f"{kind}.npz", **answers)
    return answers


def answers_of(obs: Any) -> dict[str, Any]:
    """Return the answers in columns of obs: strings, '' where missing, and numbers."""
    found = {}
    for name in COLUMNS:
        values = pd.Series(np.asarray(obs[f"cellkin_{name}"]))
        is_number = name.endswith("probability")
        found[name] = np.asarray(values.astype(float) if is_number else _texts(values))
    return found


def _texts(values: pd.Series) -> Any:
    return np.array(["" if pd.isna(value) else str(value) for value in values], dtype="U")


def differences(found: dict[str, Any], known: dict[str, Any]) -> str:
    """Say in which column answers differ, and of how many cells; nothing if in none."""
    for name, values in known.items():
        got = found[name]
        if got.shape != values.shape:
            return f"{name}: {got.shape} values, not {values.shape}"
        if values.dtype.kind == "f":
            same = np.isclose(got, values, rtol=0, atol=_MOST, equal_nan=True)
        else:
            same = got == values
        if not same.all():
            return f"{name} differs in {int((~same).sum())} of {len(same)} cells"
    return ""


def annotate(task: dict[str, Any]) -> dict[str, Any]:
    """Read a file, label its cells, and write the copies."""
    form, path, client = Form(**task["form"]), Path(task["path"]), connected(task["address"])
    task = {"index": "pancreas", **task}
    index, asked = task["index"], ("cells", "address", "index", "folder")
    known = expected(*(task[name] for name in asked), kind_of(form))
    matrix: dict[str, Any] = {"layer": "counts"} if form.place == "layer" else {}
    how = ReadOptions(**matrix, raw=form.place == "raw")
    done: dict[str, Any] = {"read": False, "labeled": False, "written": [], "error": ""}
    try:
        with open_cells(path, how) as cells:
            done["read"] = cells.cell_ids == cells_of(task["cells"], kind_of(form)).cell_ids
        if not done["read"]:
            return done | {"error": "the names of the cells are others"}
        found = tl.annotate(path, index, client=client, use_raw=how.raw, **matrix)
        said = differences(answers_of(found.obs("cellkin_")), known) or _in_memory(
            form, task, known, how
        )
        if said:
            return done | {"error": said}
        done["labeled"] = True
        for target in task["targets"]:
            write_annotation(found, path, Path(target))
            done["written"].append(target)
    except Exception as error:  # noqa: BLE001  whatever is raised is a failure to be told
        done["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
    return done


def _in_memory(form: Form, task: dict[str, Any], known: dict[str, Any], how: ReadOptions) -> str:
    """Label plain files also as AnnData in memory, backed, and as a view of backed."""
    if form.container != H5AD or form.extra or form.many or form.dtype != "float32":
        return ""
    asked: dict[str, Any] = {
        "layer": how.layer,
        "use_raw": how.raw,
        "client": connected(task["address"]),
    }
    held, backed = anndata.read_h5ad(task["path"]), anndata.read_h5ad(task["path"], backed="r")
    view = tl.annotate(backed[:], task["index"], copy=True, **asked)
    for adata in (held, backed):
        tl.annotate(adata, task["index"], **asked)
    for way, adata in (("in memory", held), ("backed", backed), ("a view of backed", view)):
        if said := differences(answers_of(adata.obs), known):
            return f"{way}: {said}"
    backed.file.close()
    return ""


if __name__ == "__main__":
    serve(annotate)
