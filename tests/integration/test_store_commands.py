"""`cellkin store` as a user runs it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from cellkin.indexer.embeddings.job import embed_genes
from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.wire.names import VersionName

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def own(store_path: Path, tmp_path: Path, make_corpus: Callable[[], pa.Table]) -> Store:
    """A store with two versions of a corpus and of an embedding, one text changed."""
    store = Store.open(str(shutil.copytree(store_path, tmp_path / "store")))
    rows = make_corpus().to_pylist()
    rows[2] |= {"text": "new", "text_sha256": "11" * 32}
    store.publish_corpus("genes", pa.Table.from_pylist(rows[1:], schema=make_corpus().schema), {})
    embed_genes(store, "random:64:7", VersionName("genes"))
    return store


def names(store: Store, kind: Kind, name: str) -> list[str]:
    return [entry.full_name for entry in store.catalog.entries(kind, name)]


def test_versions_are_listed_with_aliases_and_retractions(own: Store, run_cellkin: Run) -> None:
    first, second = names(own, Kind.EMBEDDING, "random-64-7")
    done = run_cellkin("store", "alias", "embedding", first, "stable", "--store", own.uri)
    assert done.stdout == f"random-64-7@stable is now {first}\n"
    options = ("--reason", "wrong seed", "--replacement", "random-64-7@stable")
    done = run_cellkin("store", "retract", "embedding", second, *options, "--store", own.uri)
    assert done.stdout == f"embedding {second} is retracted: wrong seed\n"
    listed = json.loads(run_cellkin("store", "list", "--store", own.uri, "--json").stdout)
    by_name = {version["name"]: version for version in listed}
    assert by_name[first]["aliases"] == ["stable"]
    assert by_name[second]["retracted"] == {"reason": "wrong seed", "replacement": first}
    assert "wrong seed" in run_cellkin("store", "list", "--store", own.uri).stdout


def test_a_retracted_embedding_is_refused_for_new_work_and_the_old_index_still_serves(
    own: Store, run_cellkin: Run, reference_path: Path, serve: Callable[..., object]
) -> None:
    for name in names(own, Kind.EMBEDDING, "random-64-7"):
        run_cellkin("store", "retract", "embedding", name, "--reason", "bad", "--store", own.uri)
    new = ("cells", "index", reference_path, "--store", own.uri, "--name", "new", "--label")
    done = run_cellkin(*new, "cell_type", "--embedding", "random:64:7")
    assert done.returncode == 2
    assert "was retracted: bad; there is no replacement" in done.stderr
    with serve(own.uri) as (address, _):  # type: ignore[attr-defined]
        done = run_cellkin("annotate", reference_path, "--index", "trio", "--server", address)
    assert done.returncode == 0, done.stderr


def test_diff_names_what_changed(own: Store, run_cellkin: Run) -> None:
    first, second = names(own, Kind.CORPUS, "genes")
    asked = ("store", "diff", "corpus", first, second, "--store", own.uri)
    found = json.loads(run_cellkin(*asked, "--json").stdout)
    assert (found["added"], found["removed"], found["text_changed"]) == ([], [1], [3])
    assert "GENE3 (3)" in run_cellkin(*asked).stdout
    first, second = names(own, Kind.EMBEDDING, "random-64-7")
    done = run_cellkin("store", "diff", "embedding", first, second, "--store", own.uri, "--json")
    found = json.loads(done.stdout)
    assert (found["removed"], found["text_changed"], found["moved"]) == ([1], [3], [])


def test_verify_finds_damage_and_says_which(own: Store, run_cellkin: Run) -> None:
    done = run_cellkin("store", "verify", "--store", own.uri)
    assert done.returncode == 0, done.stderr
    (file,) = Path(own.uri).glob("indexes/trio/*/recipe.json")
    file.write_text("{}")
    done = run_cellkin("store", "verify", "--store", own.uri)
    assert done.returncode == 2
    assert "error: 1 of 5 versions are damaged: trio@" in done.stderr
    assert "file recipe.json" in done.stdout


def test_gc_removes_what_was_left_and_says_so(own: Store, run_cellkin: Run) -> None:
    left = Path(own.uri) / "indexes" / "trio" / ".partial-1"
    left.mkdir()
    asked = ("store", "gc", "--store", own.uri, "--older-than-h", "0")
    assert "indexes/trio/.partial-1" in run_cellkin(*asked, "--dry-run").stdout
    assert left.exists()
    assert "indexes/trio/.partial-1" in run_cellkin(*asked).stdout
    assert not left.exists()
    assert run_cellkin("store", "verify", "--store", own.uri).returncode == 0
