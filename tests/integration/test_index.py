"""`cellkin cells index` as a user runs it: what it refuses, what it leaves behind when cut off."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest

from cellkin.store.catalog import Kind
from cellkin.store.cell_index import read_cell_index
from cellkin.store.store import Store
from cellkin.wire.names import VersionName

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]
Make = Callable[..., anndata.AnnData]


@pytest.fixture
def own_store(store_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store_path, tmp_path / "store"))


def index(run: Run, path: Path, store: Path, *more: str) -> subprocess.CompletedProcess[str]:
    options = ("--name", "new", "--label", "cell_type", "--embedding", "random:64:7", *more)
    return run("cells", "index", path, "--store", store, *options)


def test_an_index_names_all_it_was_made_from(
    own_store: Path, reference_path: Path, run_cellkin: Run
) -> None:
    done = index(run_cellkin, reference_path, own_store, "--batch", "donor", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    store = Store.open(str(own_store))
    entry = store.catalog.resolve(Kind.INDEX, VersionName("new"))
    assert said["index"] == entry.full_name
    assert said["label_counts"] == {"alpha": 50, "beta": 50, "delta": 50}
    assert said["embedding"].startswith("random-64-7@")
    assert said["corpus"].startswith("genes@")
    loaded = read_cell_index(store.index_folder(entry))
    assert loaded.cells.ids[:2].to_pylist() == ["cell1-0", "cell1-1"]
    assert loaded.cells.batches[:3].to_pylist() == ["d0", "d1", "d0"]
    # Genes measured weigh what the reference says; every other gene with text has a weight too.
    assert loaded.text is not None
    assert loaded.text.space.measured.sum() == 108
    assert (loaded.text.space.weights >= 0).all()
    assert len(loaded.text.space.gene_ids) == 216


def test_the_same_input_is_the_same_index(
    own_store: Path, reference_path: Path, run_cellkin: Run
) -> None:
    digests = [
        json.loads(index(run_cellkin, reference_path, own_store, "--json").stdout)["digest"]
        for _ in range(2)
    ]
    assert digests[0] == digests[1]


def test_cells_without_a_label_or_a_gene_are_left_out_and_counted(
    own_store: Path, make_cells: Make, tmp_path: Path, run_cellkin: Run
) -> None:
    data = make_cells(30, 1)
    data.obs["cell_type"] = data.obs["cell_type"].astype("category")
    data.obs.loc[data.obs_names[:4], "cell_type"] = np.nan
    counts = data.X.tolil()
    counts[7] = 0
    data.X = counts.tocsr()
    data.write_h5ad(tmp_path / "some.h5ad")
    done = index(run_cellkin, tmp_path / "some.h5ad", own_store)
    assert done.returncode == 0, done.stderr
    assert "left out: 4 cells without a label" in done.stdout
    assert "left out: 1 cells without a gene that counts" in done.stdout
    entry = Store.open(str(own_store)).catalog.resolve(Kind.INDEX, VersionName("new"))
    assert entry.manifest["n_cells"] == 25


def broken(kind: str, make_cells: Make, path: Path) -> None:
    data = make_cells(12, 1)
    if kind == "twins":
        data.obs_names = ["same"] * 2 + [f"c{i}" for i in range(10)]
    elif kind == "unlabeled":
        data.obs["cell_type"] = [np.nan] * 12
    elif kind == "alien":
        data.var_names = [f"probe{i}" for i in range(120)]
    elif kind == "scaled":
        data.X.data -= 3
    elif kind == "other label":
        del data.obs["cell_type"]
    data.write_h5ad(path)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:9000])
    elif kind == "text":
        path.write_text("gene,cell\n")


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("twins", "1 cell names repeat in "),
        ("unlabeled", "every cell's label in 'cell_type' is missing"),
        ("alien", "error: 120 gene names mean 0 genes that count"),
        ("scaled", "centered or scaled data cannot be used"),
        ("other label", "has no obs column 'cell_type' for the labels; it has: donor"),
        ("cut", "cannot be read as .h5ad"),
        ("text", "cannot be read as .h5ad"),
    ],
)
def test_bad_references_are_refused_and_publish_nothing(
    own_store: Path, make_cells: Make, tmp_path: Path, run_cellkin: Run, kind: str, message: str
) -> None:
    broken(kind, make_cells, tmp_path / "bad.h5ad")
    done = index(run_cellkin, tmp_path / "bad.h5ad", own_store)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert {e.name for e in Store.open(str(own_store)).catalog.entries(Kind.INDEX)} == {"trio"}


def test_missing_things_are_named(own_store: Path, reference_path: Path, run_cellkin: Run) -> None:
    done = index(run_cellkin, Path("/no/such.h5ad"), own_store)
    assert (done.returncode, "error: no file /no/such.h5ad" in done.stderr) == (2, True)
    done = index(run_cellkin, reference_path, own_store / "nowhere")
    assert (done.returncode, "error: no cellkin store at" in done.stderr) == (2, True)
    done = index(run_cellkin, reference_path, own_store, "--embedding", "biobert")
    assert done.returncode == 2
    assert "no gene embedding 'biobert' in this store; there is: random-64-7" in done.stderr
    done = index(run_cellkin, reference_path, own_store, "--batch", "plate")
    assert done.returncode == 2
    assert "has no obs column 'plate' for the batch; it has: cell_type, donor" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_cut_off_leaves_the_store_whole(
    own_store: Path, reference_path: Path, how: signal.Signals, run_cellkin: Run
) -> None:
    command: list[str | Path] = [
        Path(sys.executable).with_name("cellkin"), "cells", "index", reference_path, "--store",
        own_store, "--name", "new", "--label", "cell_type", "--embedding", "random:64:7",
    ]  # fmt: skip
    for delay_s in (0.3, 1.5, 2.5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay_s)
        process.send_signal(how)
        process.wait(timeout=30)
        store = Store.open(str(own_store))
        for entry in store.catalog.entries(Kind.INDEX):
            read_cell_index(store.index_folder(entry))
    assert index(run_cellkin, reference_path, own_store).returncode == 0
