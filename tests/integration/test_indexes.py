"""`cellkin indexes` as an operator runs it: what is certified, and whether it still holds."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.live import live_server

from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.wire.names import VersionName

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


@pytest.fixture
def weak_store(own_store: Path) -> Path:
    """A store with an index `weak` that has cells of beta for known ones where it lacks them."""
    store = Store.open(str(own_store))
    entry = store.catalog.resolve(Kind.INDEX, VersionName("trio"))
    quality = {
        space: {**found, "left_out": [{**x, "auroc": 0.4 if x["label"] == "beta" else 0.9}
                                      for x in found["left_out"]]}
        for space, found in entry.manifest["quality"].items()
    }  # fmt: skip
    changed = {"quality": quality, "control_embedding": False, "likely_batch": "donor"}
    store.catalog.commit(Kind.INDEX, "weak", entry.digest, {**entry.manifest, **changed})
    return own_store


WEAK = (
    "by expression this reference cannot tell what it lacks from: beta; left out, many of their "
    "cells would be given another label\n"
)
CONTROL = "are a control and say nothing about genes: labels by text mean nothing"


def test_a_store_says_how_good_labels_are_and_what_weakens_them(
    weak_store: Path, run_cellkin: Run
) -> None:
    store = "--store", weak_store
    shown = run_cellkin("indexes", "show", "weak", *store).stdout
    assert "Labels by expression" in shown
    assert "macro-F1, combined" in shown
    assert "called too far" in shown
    assert WEAK in shown
    assert "WARNING: labels are judged on parts of the same donors" in shown
    assert CONTROL not in shown
    assert CONTROL in run_cellkin("indexes", "show", "trio", *store).stdout
    shown = json.loads(run_cellkin("indexes", "show", "weak", *store, "--json").stdout)
    assert shown["weak_labels"] == {"text": ["beta"], "expression": ["beta"]}
    assert len(shown["warnings"]) == 1


def test_a_server_says_it_without_the_store(weak_store: Path, run_cellkin: Run) -> None:
    with live_server(weak_store, indexes=("weak", "trio")) as live:
        server = "--server", live.address
        shown = run_cellkin("indexes", "show", "weak", *server).stdout
        for words in ("recall@10", "Labels by expression", "called too far", "d0, d1", WEAK):
            assert words in shown
        assert CONTROL not in shown
        assert CONTROL in run_cellkin("indexes", "show", "trio", *server).stdout
        shown = json.loads(run_cellkin("indexes", "show", "weak", *server, "--json").stdout)
        assert shown["version"].startswith("weak@")
        assert shown["certificate"]["recalls"]["10"] == 1.0
        assert shown["weak_labels"] == {"text": ["beta"], "expression": ["beta"]}
        assert shown["qualities"]["text"]["held_out"] == "2 batches in turn"
        assert shown["batches"] == ["d0", "d1"]
        assert shown["label_counts"] == {"alpha": 50, "beta": 50, "delta": 50}
        status = run_cellkin("status", *server).stdout
        assert "Labels of the indexes in memory" in status
        assert "text (control)" in status
        said = json.loads(run_cellkin("status", *server, "--json").stdout)["indexes"]
        weak = next(index for index in said if index["name"].startswith("weak@"))
        assert weak["weak_labels"] == {"text": ["beta"], "expression": ["beta"]}
        assert set(weak["accuracy"]) == {"text", "expression"}
        unknown = run_cellkin("indexes", "show", "nothing", *server)
        assert (unknown.returncode, "no cell index 'nothing'" in unknown.stderr) == (2, True)
