"""`cellkin indexes` as an operator runs it: what is certified, and whether it still holds."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cellkin.store.catalog import Kind
from cellkin.store.store import Store

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_certificate_is_shown_and_holds(store_path: Path, run_cellkin: Run) -> None:
    store = "--store", store_path
    listed = json.loads(run_cellkin("indexes", "list", *store, "--json").stdout)
    assert [(i["version"].split("@")[0], i["manifest"]["n_cells"]) for i in listed] == [
        ("trio", 150)
    ]
    shown = run_cellkin("indexes", "show", "trio", *store).stdout
    assert "recall@10" in shown
    shown = json.loads(run_cellkin("indexes", "show", "trio", *store, "--json").stdout)
    certificate = shown["manifest"]["certificate"]
    assert certificate["recall"] == {"1": 1.0, "10": 1.0, "30": 1.0, "100": 1.0}
    assert certificate["factory"] == "Flat"
    assert set(certificate["versions"]) == {"faiss", "numpy", "cellkin"}
    verified = run_cellkin("indexes", "verify", "trio", *store)
    assert verified.returncode == 0, verified.stderr
    assert "recall@10 now" in verified.stdout


def test_an_index_that_is_not_what_was_certified_is_refused(
    store_path: Path, tmp_path: Path, run_cellkin: Run
) -> None:
    copy = Path(shutil.copytree(store_path, tmp_path / "store"))
    entry = Store.open(str(copy)).catalog.entries(Kind.INDEX)[0]
    path = copy / entry.manifest["path"] / "neighbors.faiss"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused = run_cellkin("indexes", "verify", "trio", "--store", copy)
    assert refused.returncode == 2
    assert "neighbors.faiss does not have the digest" in refused.stderr
    unknown = run_cellkin("indexes", "show", "nothing", "--store", copy)
    assert (unknown.returncode, "no cell index 'nothing'" in unknown.stderr) == (2, True)
