"""`cellkin search genes` as a user runs it: by genes, a vector or a text, with its controls."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.wire.names import VersionName

pytestmark = pytest.mark.integration
Run = Callable[..., "CompletedProcess[str]"]
MODEL = "random:64:7"


def test_genes_some_of_which_are_unknown(server: str, run_cellkin: Run) -> None:
    asked = [
        "search", "genes", "GENE5", "GENE6", "nope", "--taxon", "9606", "--server", server,
        "--embedding", MODEL, "-k", "3", "--control", "permuted",
    ]  # fmt: skip
    done = run_cellkin(*asked)
    assert done.returncode == 0, done.stderr
    assert "Genes nearest to 2 genes (GENE5, GENE6) in random-64-7@" in done.stdout
    assert "rank in permuted" in " ".join(done.stdout.split())
    assert "searched: 106 genes, protein-coding of human" in done.stdout
    assert "not used, no single gene with a text: nope" in done.stdout
    assert "no evidence that genes interact" in done.stdout
    found = json.loads(run_cellkin(*asked, "--json").stdout)
    assert [gene["gene_id"] for gene in found["genes"]] == [5, 6]
    assert found["unmatched"] == ["nope"]
    assert (found["n_searched"], found["score"]) == (106, "cosine")
    assert found["searched"]["gene_types"] == ["protein-coding"]
    nearest, similarity = found["neighbors"][0]
    assert nearest["link"] == f"https://www.ncbi.nlm.nih.gov/gene/{nearest['gene_id']}"
    assert nearest["cosine_rank"] == 1
    assert nearest["score"] == pytest.approx(similarity)
    assert 1 <= nearest["rank in permuted"] <= 106


@pytest.mark.parametrize("name", ["vector.npy", "vector.txt"])
def test_a_vector_of_a_file(
    server: str, store_path: Path, run_cellkin: Run, tmp_path: Path, name: str
) -> None:
    store = Store.open(str(store_path))
    raw = store.embedding(store.catalog.resolve(Kind.EMBEDDING, VersionName("random-64-7")))
    vector = raw.vectors[raw.gene_ids.tolist().index(5)]
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, vector)
    else:
        path.write_text("\n".join(map(str, vector.tolist())))
    asked = ("search", "genes", "--vector", path, "--target-taxon", "human", "--server", server)
    done = run_cellkin(*map(str, asked), "--embedding", MODEL, "-k", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["neighbors"][0][0]["gene_id"] == 5
    path.write_bytes(b"no numbers")
    done = run_cellkin(*map(str, asked))
    assert done.returncode == 2
    assert f"{path} is no vector" in done.stderr


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((), "nothing given to search for"),
        (("INS", "--text", "a hormone"), "GENE and --text given"),
        (("--set", "go"), "write COLLECTION/SET"),
    ],
    ids=["nothing", "two", "no-collection"],
)
def test_what_is_asked_for_is_one_thing(
    server: str, run_cellkin: Run, asked: tuple[str, ...], message: str
) -> None:
    done = run_cellkin("search", "genes", *asked, "--server", server)
    assert done.returncode == 2
    assert message in done.stderr
