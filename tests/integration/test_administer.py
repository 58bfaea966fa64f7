"""Aliases, retractions, reloads and backups by the command line, over the wire."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.live import Live, live_server

from cellkin.cli.main import main
from cellkin.client import Client
from cellkin.store import backup
from cellkin.store.catalog import Kind
from cellkin.store.maintenance import damage
from cellkin.store.store import Store
from cellkin.wire.errors import ConflictError

pytestmark = pytest.mark.integration
Run = Callable[..., Any]


@pytest.fixture
def administered(own_store: Path, tmp_path: Path) -> Iterator[Live]:
    """A server of its own store, with a token that may read and one that may change."""
    tokens = tmp_path / "tokens"
    roles = {"ana": "read", "ops": "admin"}
    lines = (f"{n} {r} sha256:{hashlib.sha256(n.encode()).hexdigest()}\n" for n, r in roles.items())
    tokens.write_text("".join(lines))
    places = (str(tmp_path / "backup"),)
    with live_server(own_store, tokens=tokens, backups=places, refresh_s=3600.0) as live:
        yield live


@pytest.fixture
def run(
    administered: Live, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs a command with a token; returns its JSON, or its exit code and errors."""

    def run(*words: str, token: str = "ops") -> Any:
        monkeypatch.setenv("CELLKIN_ADDRESS", administered.address)
        monkeypatch.setenv("CELLKIN_TOKEN", token)
        code = main([*words, "--json"])
        said = capsys.readouterr()  # of a server in the process too
        return json.loads(said.out.splitlines()[-1]) if code == 0 else (code, said.err)

    return run


def test_an_alias_is_set_and_a_version_retracted(run: Run, own_store: Path) -> None:
    store = Store.open(str(own_store))
    (first,) = store.catalog.entries(Kind.INDEX)
    store.catalog.commit(Kind.INDEX, "trio", first.digest, dict(first.manifest))
    second = store.catalog.entries(Kind.INDEX)[-1].full_name
    assert run("store", "reload") == {"switched": [second], "refused": {}}
    assert run("store", "reload") == {"switched": [], "refused": {}}
    set_ = run("indexes", "alias", first.full_name, "stable")
    assert set_ == {"alias": "trio@stable", "version": first.full_name}
    retracted = run("indexes", "retract", second, "--reason", "made twice")
    assert retracted == {"version": second, "reason": "made twice", "replacement": ""}
    view = store.catalog.view()
    assert view.aliases[Kind.INDEX, "trio", "stable"] == first.version
    code, said = run("indexes", "retract", first.full_name, "--reason", "all")
    assert (code, "stable" in said) == (2, True)
    code, said = run("indexes", "retract", first.full_name)
    assert (code, "reason" in said) == (2, True)
    embedding = store.catalog.entries(Kind.EMBEDDING)[0].full_name
    assert run("embeddings", "alias", embedding, "next")["version"] == embedding


def test_a_store_is_backed_up_and_only_what_is_new(
    run: Run, own_store: Path, tmp_path: Path
) -> None:
    place = str(tmp_path / "backup")
    made = run("store", "backup", place)
    assert (made["store"], made["n_versions"], made["n_files_before"]) == (place, 3, 0)
    copy = Store.open(place)
    assert [damage(copy, entry) for entry in copy.catalog.entries()] == ["", "", ""]
    again = run("store", "backup", place)
    assert (again["n_files"], again["n_files_before"]) == (0, made["n_files"])
    code, said = run("store", "backup", str(tmp_path / "elsewhere"))
    assert (code, f"it backs up to: {place}" in said) == (2, True)
    assert not (tmp_path / "elsewhere").exists()
    damaged = next((tmp_path / "backup" / "indexes").rglob("*.faiss"))
    damaged.write_bytes(damaged.read_bytes()[::-1])
    code, said = run("store", "backup", place)
    assert (code, "the copy at" in said) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ("indexes", "alias", "trio", "stable"),
        ("indexes", "retract", "trio@2026-01-01.1", "--reason", "x"),
        ("store", "reload"),
        ("store", "backup", "/tmp"),
    ],
    ids=lambda words: words[1],
)
def test_a_token_that_only_reads_changes_nothing(run: Run, words: tuple[str, ...]) -> None:
    code, said = run(*words, token="ana")
    assert (code, "admin" in said) == (2, True)


def test_one_backup_at_a_time(
    administered: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, copy_store = threading.Event(), threading.Event(), backup.copy_store

    def slow(*given: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return copy_store(*given)

    monkeypatch.setattr(backup, "copy_store", slow)
    place = str(tmp_path / "backup")
    with Client(administered.address, token="ops", attempts=1) as client:
        first = threading.Thread(target=client.back_up_store, args=(place,))
        first.start()
        assert begun.wait(30)
        with pytest.raises(ConflictError, match="a backup is being made"):
            client.back_up_store(place)
        go_on.set()
        first.join(60)
        assert client.back_up_store(place).n_files == 0
