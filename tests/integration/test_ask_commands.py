"""`cellkin search cells`, `explain` and `status` as a user runs them."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import CELLKIN

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_cells_find_their_kin(server: str, query_path: Path, run_cellkin: Run) -> None:
    asked = ("search", "cells", query_path, "--index", "trio", "-k", "3", "--server", server)
    done = run_cellkin(*asked, "--cell", "cell2-4", "--cell", "cell2-0", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["versions"]["index"].startswith("trio@")
    hits = [(hit["cell"], hit["rank"], hit["label"]) for hit in found["hits"]]
    assert hits == [
        *(("cell2-4", rank, "beta") for rank in (1, 2, 3)),
        *(("cell2-0", rank, "alpha") for rank in (1, 2, 3)),
    ]
    everything = run_cellkin(*asked, "--json")
    assert len(json.loads(everything.stdout)["hits"]) == 3 * 60
    assert "searching cells: 60 of 60" in everything.stderr
    missing = run_cellkin(*asked, "--cell", "nobody")
    assert (missing.returncode, "has no cell 'nobody'" in missing.stderr) == (2, True)


def test_a_label_is_explained(server: str, query_path: Path, run_cellkin: Run) -> None:
    asked = ("explain", query_path, "--index", "trio", "--cell", "cell2-1", "--server", server)
    done = run_cellkin(*asked, "--genes", "5", "--json")
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)["cells"]
    assert (cell["cell"], cell["label"], len(cell["genes"])) == ("cell2-1", "beta", 5)
    parts = sum(gene["contribution"] for gene in cell["genes"]) + cell["remainder"]
    assert parts == pytest.approx(cell["score"], abs=1e-5)
    assert "contribution" in run_cellkin(*asked, "--label", "alpha").stdout
    shown = run_cellkin(*asked, "--label", "beta", "--against", "alpha").stdout
    assert "cell2-1: beta against alpha, cosine" in shown


def test_groups_are_explained(
    server: str, query_path: Path, tmp_path: Path, run_cellkin: Run
) -> None:
    out = tmp_path / "labeled.h5ad"
    run_cellkin("annotate", query_path, "--index", "trio", "--server", server, "-o", out)
    asked = ("explain", out, "--index", "trio", "--server", server, "--by", "cellkin_label")
    done = run_cellkin(*asked, "--genes", "5", "--json")
    assert done.returncode == 0, done.stderr
    groups = json.loads(done.stdout)["groups"]
    assert {group["group"] for group in groups} >= {"alpha", "beta", "delta"}
    for group in groups:
        assert (len(group["genes"]), group["n_explained"]) == (5, group["n_cells"])
        assert group["against"] not in ("", group["label"])
        parts = sum(gene["contribution"] for gene in group["genes"]) + group["remainder"]
        assert parts == pytest.approx(group["score"], abs=1e-5)
    assert "cells; the group's name): alpha against " in run_cellkin(*asked).stdout
    cells = ("explain", out, "--index", "trio", "--server", server, "--json", "--cell", "cell2-1")
    told = json.loads(run_cellkin(*cells, "--cell", "cell2-2", "--cell", "cell2-1").stdout)["cells"]
    assert [(cell["cell"], cell["label"]) for cell in told[:2]] == [
        ("cell2-1", "beta"), ("cell2-2", told[1]["label"]),
    ]  # fmt: skip
    assert all(cell["against"] not in ("", cell["label"]) for cell in told)
    assert told[0] == told[2]
    both = run_cellkin(*asked, "--cell", "cell2-1")
    assert (both.returncode, "name cells by --cell, or groups" in both.stderr) == (2, True)
    not_labeled = ("explain", query_path, "--index", "trio", "--server", server)
    done = run_cellkin(*not_labeled, "--by", "donor")
    assert (done.returncode, "its cells were not labeled" in done.stderr) == (2, True)


def test_status_says_what_a_server_is(server: str, run_cellkin: Run) -> None:
    said = json.loads(run_cellkin("status", "--server", server, "--json").stdout)
    assert said["health"]["cellkin.v1.CellService"] == "SERVING"
    assert said["latency_ms"] > 0
    assert [(i["n_cells"], i["n_labels"], i["loaded"]) for i in said["indexes"]] == [(150, 3, True)]
    assert said["embeddings"][0]["name"] == "random-64-7"
    assert said["release"]
    assert "SERVING" in run_cellkin("status", "--server", server).stdout


def test_status_fails_where_nobody_answers(run_cellkin: Run) -> None:
    done = run_cellkin("status", "--server", "127.0.0.1:9", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: " in done.stderr


def test_status_is_watched_while_a_server_comes_and_goes(
    store_path: Path, serve: Callable[..., Any]
) -> None:
    with serve(store_path) as (address, _):
        words = [CELLKIN, "status", "--watch", "0.2", "--json", "--server", address]
        watching = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert watching.stdout is not None
        seen = [json.loads(watching.stdout.readline()) for _ in range(2)]
        assert all(each["health"]["server"] == "SERVING" for each in seen)
        assert seen[0]["at"] <= seen[1]["at"]
    while "error" not in (gone := json.loads(watching.stdout.readline())):
        pass
    with serve(store_path, address):
        while "health" not in json.loads(watching.stdout.readline()):
            pass
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=20) == 130
    assert "no cellkin server answers" in gone["error"]
    watching.stdout.close()
