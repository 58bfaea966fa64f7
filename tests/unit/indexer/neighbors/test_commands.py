"""``cellkin indexes list`` and ``show``; ``verify`` needs a real index and is integrated."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from cellkin.indexer.commands.indexes import indexes
from cellkin.store.certificate import Certificate
from cellkin.store.store import Store

CERTIFICATE = Certificate(
    recall={1: 1.0, 10: 0.97, 30: 0.95, 100: 0.9},
    n_queries=1000, queries="cells", n_cells=60_000, dim=384, target=0.98,
    qps_batch=2345.6, qps_single=1234.5, bytes_per_cell=1808.0, build_s=12.3,
    factory="HNSW32", parameters={"efSearch": 80}, why="60000 cells: a graph",
    versions={"faiss": "1.15.1"}, cpu="some", n_threads=2, vectors_digest="ab" * 32,
)  # fmt: skip


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("indexes") / "store"
    store = Store.create(str(path))

    def write(folder: Path) -> None:
        (folder / "a").write_text("a")

    certified = {"n_cells": 60_000, "certificate": CERTIFICATE.to_json()}
    store.publish_index("new", write, certified)
    store.publish_index("old", write, {"n_cells": 10})
    untuned = replace(CERTIFICATE, target=0.0).to_json()
    store.publish_index("milvus", write, {"n_cells": 60_000, "certificate": untuned})
    return str(path)


def test_list(uri: str) -> None:
    printed = CliRunner().invoke(indexes, ["list", "--store", uri], catch_exceptions=False).output
    assert "0.9700" in printed
    assert "2346" in printed
    listed = json.loads(CliRunner().invoke(indexes, ["list", "--store", uri, "--json"]).output)
    assert [e["manifest"]["n_cells"] for e in listed] == [60_000, 60_000, 10]


def test_show(uri: str) -> None:
    shown = CliRunner().invoke(indexes, ["show", "new", "--store", uri], catch_exceptions=False)
    for part in ("efSearch 80", "0.98, NOT reached", "1000 cells", "faiss 1.15.1", "abababab"):
        assert part in shown.output
    as_json = CliRunner().invoke(indexes, ["show", "new", "--store", uri, "--json"]).output
    manifest = json.loads(as_json)["manifest"]
    assert Certificate.from_json(manifest["certificate"]) == CERTIFICATE


def test_a_recall_that_was_not_asked_for_is_not_said_to_be_reached(uri: str) -> None:
    shown = CliRunner().invoke(indexes, ["show", "milvus", "--store", uri], catch_exceptions=False)
    assert "recall@10 wanted" in shown.output
    assert "reached" not in shown.output


def test_an_index_without_a_certificate(uri: str) -> None:
    shown = CliRunner().invoke(indexes, ["show", "old", "--store", uri], catch_exceptions=False)
    assert "older than certificates are" in shown.output
    asked = ["verify", "old", "--store", uri, "--json"]
    said = json.loads(CliRunner().invoke(indexes, asked, catch_exceptions=False).stdout)
    assert [version["state"] for version in said["versions"]] == ["whole"]
