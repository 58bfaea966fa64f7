"""`cellkin store` and the removal of versions, run in this process."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cellkin.cli.main import main
from cellkin.store.catalog import Kind
from cellkin.store.store import Store

pytestmark = pytest.mark.integration
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; returns its exit code and what it printed."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_whole_store_is_verified_in_one_command(own_store: Path, run: Run) -> None:
    code, out, err = run("store", "verify", "--store", own_store, "--json")
    assert code == 0, err
    found = json.loads(out)["found"]
    assert [row["kind"] for row in found] == ["catalog", "corpus", "embedding", "index"]
    assert {row["state"] for row in found} == {"whole"}
    assert found[3]["recall@10 now"] == found[3]["recall@10 certified"]


def test_damage_anywhere_ends_in_2(own_store: Path, run: Run) -> None:
    (file,) = own_store.glob("indexes/trio/*/recipe.json")
    file.write_text("{}")
    code, out, err = run("store", "verify", "--store", own_store)
    assert code == 2
    assert "file recipe.json does not have the digest" in err
    assert "trio@" in out
    record = own_store / "journal" / "00000001.json"
    record.write_bytes(record.read_bytes()[:-9])
    code, out, err = run("store", "verify", "--store", own_store, "--json")
    assert code == 2
    assert "record 1 of the journal" in err
    assert len(json.loads(out)["found"]) == 1


def test_a_backup_is_restored(own_store: Path, tmp_path: Path, run: Run) -> None:
    backup, new = tmp_path / "backup", tmp_path / "new"
    code, out, err = run("store", "backup", backup, "--store", own_store)
    assert code == 0, err
    assert "all 3 versions there were read and are whole" in out
    Store.open(str(own_store)).catalog.set_alias(
        Store.open(str(own_store)).catalog.entries(Kind.INDEX)[0], "stable"
    )
    code, out, err = run("store", "backup", backup, "--store", own_store, "--json")
    assert (code, json.loads(out)["n_files"]) == (0, 0)
    shutil.rmtree(own_store)
    code, out, err = run("store", "restore", backup, "--store", new)
    assert code == 0, err
    assert list(Store.open(str(new)).catalog.aliases().values()) != []
    code, _, err = run("store", "verify", "--store", new)
    assert code == 0, err


def test_a_backup_with_damage_is_told(own_store: Path, tmp_path: Path, run: Run) -> None:
    backup = tmp_path / "backup"
    assert run("store", "backup", backup, "--store", own_store)[0] == 0
    (file,) = backup.glob("indexes/trio/*/recipe.json")
    content = file.read_bytes()
    file.write_bytes(content.replace(b"1", b"2", 1))
    code, _, err = run("store", "backup", backup, "--store", own_store)
    assert code == 2
    assert f"the store at {backup} is damaged: trio@" in err


def test_backups_go_to_a_new_place_only(own_store: Path, run: Run) -> None:
    code, _, err = run("store", "backup", own_store, "--store", own_store)
    assert code == 2
    assert "is the store itself" in err


def test_gc_removes_what_was_left_and_says_so(own_store: Path, run: Run) -> None:
    left = own_store / "indexes" / "trio" / ".partial-1"
    left.mkdir()
    (left / "file").write_text("12345")
    asked = ("gc", "--store", own_store, "--older-than-h", "0")
    code, out, err = run("corpora", *asked, "--force", "--json")
    assert (code, json.loads(out)["found"], json.loads(out)["n_files"]) == (0, [], 0), err
    assert "1 things no cell index" in run("indexes", "verify", "--store", own_store)[1]
    assert "indexes/trio/.partial-1" in run("indexes", *asked, "--dry-run")[1]
    code, _, err = run("indexes", *asked)
    assert (code, "--force where none is" in err) == (2, True)
    assert left.exists()
    code, out, err = run("indexes", *asked, "--force")
    assert "indexes/trio/.partial-1" in out, err
    assert "1 files, 5 bytes" in out
    assert not left.exists()


def test_versions_are_pruned(own_store: Path, run: Run) -> None:
    catalog = Store.open(str(own_store)).catalog
    first, index = (catalog.entries(kind)[0] for kind in (Kind.EMBEDDING, Kind.INDEX))
    second, third = (catalog.commit(first.kind, first.name, "0", {}) for _ in range(2))
    asked = ("embeddings", "prune", first.name, "--store", own_store, "--json")
    expected = [
        {
            "version": first.full_name,
            "why_kept": f"kept: cell index {index.full_name} was made from it",
        },
        {"version": second.full_name, "why_kept": ""},
    ]
    for dry_run in (["--dry-run"], []):
        code, out, err = run(*asked, "--keep", "1", *dry_run)
        assert code == 0, err
        assert json.loads(out) == {"removed": not dry_run, "versions": expected}
    assert catalog.entries(Kind.EMBEDDING) == [first, third]
    code, _, err = run(*asked)
    assert (code, "--keep N, --retracted, or both" in err) == (2, True)


def test_a_retraction_is_refused_forced_and_taken_back(own_store: Path, run: Run) -> None:
    catalog = Store.open(str(own_store)).catalog
    index = catalog.entries(Kind.INDEX)[0]
    asked = ("indexes", "retract", index.full_name, "--reason", "bad", "--store", own_store)
    code, _, err = run(*asked)
    assert (code, "--force" in err) == (2, True)
    code, _, err = run(*asked, "--force")
    assert code == 0, err
    assert catalog.view().retraction(index) is not None
    code, out, err = run("indexes", "unretract", index.full_name, "--store", own_store)
    assert out == f"cell index {index.full_name} is retracted no longer\n", err
    assert catalog.view().retraction(index) is None
