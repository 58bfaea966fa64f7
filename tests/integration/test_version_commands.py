"""`cellkin corpora`, `embeddings` and `indexes` as a user runs them."""

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
    done = run_cellkin("embeddings", "alias", first, "stable", "--store", own.uri)
    assert done.stdout == f"random-64-7@stable is now {first}\n"
    options = ("--reason", "wrong seed", "--replacement", "random-64-7@stable")
    done = run_cellkin("embeddings", "retract", second, *options, "--store", own.uri)
    assert done.stdout == f"gene embedding {second} is retracted: wrong seed\n"
    listed = json.loads(run_cellkin("embeddings", "list", "--store", own.uri, "--json").stdout)
    by_name = {version["version"]: version for version in listed}
    assert by_name[first]["aliases"] == ["stable"]
    assert by_name[second]["retracted"] == {"reason": "wrong seed", "replacement": first}
    assert "wrong seed" in run_cellkin("embeddings", "list", "--store", own.uri).stdout


def test_a_retracted_embedding_is_refused_for_new_work_and_the_old_index_still_serves(
    own: Store, run_cellkin: Run, reference_path: Path, serve: Callable[..., object]
) -> None:
    for name in names(own, Kind.EMBEDDING, "random-64-7"):
        run_cellkin("embeddings", "retract", name, "--reason", "bad", "--force", "--store", own.uri)
    new = ("cells", "index", reference_path, "--store", own.uri, "--name", "new", "--label")
    done = run_cellkin(*new, "cell_type", "--embedding", "random:64:7")
    assert done.returncode == 2
    assert "was retracted: bad; there is no replacement" in done.stderr
    with serve(own.uri) as (address, _):  # type: ignore[attr-defined]
        done = run_cellkin("annotate", reference_path, "--index", "trio", "--server", address)
    assert done.returncode == 0, done.stderr


def test_diff_names_what_changed(own: Store, run_cellkin: Run) -> None:
    first, second = names(own, Kind.CORPUS, "genes")
    asked = ("corpora", "diff", first, second, "--store", own.uri)
    found = json.loads(run_cellkin(*asked, "--json").stdout)
    assert (found["added"], found["removed"], found["text_changed"]) == ([], [1], [3])
    assert "GENE3 (3)" in run_cellkin(*asked).stdout
    first, second = names(own, Kind.EMBEDDING, "random-64-7")
    done = run_cellkin("embeddings", "diff", first, second, "--store", own.uri, "--json")
    found = json.loads(done.stdout)
    assert (found["removed"], found["text_changed"], found["moved"]) == ([1], [3], [])


def test_versions_are_shown(own: Store, run_cellkin: Run) -> None:
    first, _ = names(own, Kind.EMBEDDING, "random-64-7")
    shown = json.loads(
        run_cellkin("embeddings", "show", first, "--store", own.uri, "--json").stdout
    )
    assert (shown["version"], shown["manifest"]["dim"]) == (first, 64)
    assert len(shown["digest"]) == 64
    assert "genes@" in run_cellkin("embeddings", "show", "random:64:7", "--store", own.uri).stdout
    assert "digest" in run_cellkin("corpora", "show", "genes", "--store", own.uri).stdout


def test_controls_are_marked(own: Store, run_cellkin: Run) -> None:
    store = "--store", own.uri
    both = ", ".join(names(own, Kind.EMBEDDING, "random-64-7"))
    said = f"controls, whose vectors say nothing about genes: {both}\n"
    assert run_cellkin("embeddings", "list", *store).stdout.endswith(said)
    shown = run_cellkin("embeddings", "show", "random:64:7", *store).stdout
    assert "a control: these vectors say nothing about genes" in shown
    (*_, entry) = own.catalog.entries(Kind.EMBEDDING, "random-64-7")
    own.catalog.commit(Kind.EMBEDDING, "model", entry.digest, {**entry.manifest, "control": False})
    assert "a control" not in run_cellkin("embeddings", "show", "model", *store).stdout
    listed = json.loads(run_cellkin("embeddings", "list", *store, "--json").stdout)
    assert [each["manifest"]["control"] for each in listed] == [False, True, True]


def test_verify_finds_damage_and_says_which(own: Store, run_cellkin: Run) -> None:
    for kind in ("corpora", "embeddings"):
        done = run_cellkin(kind, "verify", "--store", own.uri, "--json")
        assert done.returncode == 0, done.stderr
        assert [v["state"] for v in json.loads(done.stdout)["versions"]] == ["whole"] * 2
    (file,) = Path(own.uri).glob("indexes/trio/*/recipe.json")
    file.write_text("{}")
    done = run_cellkin("indexes", "verify", "--store", own.uri)
    assert done.returncode == 2
    assert "error: 1 of 1 versions are damaged: trio@" in done.stderr
    assert "file recipe.json" in done.stdout


def test_names_are_resolved_as_those_of_a_matrix(own: Store, run_cellkin: Run) -> None:
    asked = ("genes", "resolve", "GENE3", "OLD5", "SHARED", "nothing", "ENSG00000000010")
    found = json.loads(run_cellkin(*asked, "--store", own.uri, "--json").stdout)
    assert (found["taxon"], found["taxon_inferred"]) == (9606, True)
    assert [(g["gene_id"], g["route"]) for g in found["genes"]] == [
        (3, "symbol"), (5, "synonym"), (2, "synonym"), (0, "unmatched"), (10, "Ensembl id"),
    ]  # fmt: skip
    assert "4 of 5 mean one gene, 3 have a text" in run_cellkin(*asked, "--store", own.uri).stdout
