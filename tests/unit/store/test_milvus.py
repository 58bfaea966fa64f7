"""What names a Milvus; the answers themselves are tested with a real one."""

import json
from pathlib import Path
from typing import ClassVar

import pytest

from cellkin.store.milvus import MilvusNeighbors, fill_collection
from cellkin.wire.errors import InvalidArgumentError, UnavailableError

pytest.importorskip("pymilvus")


@pytest.mark.parametrize("uri", ["milvus://", "milvus:///", "http://somewhere:19530"])
def test_what_is_no_milvus_is_refused(uri: str) -> None:
    with pytest.raises(InvalidArgumentError, match="give milvus://HOST:PORT"):
        fill_collection(uri, "cells", 4, 0, iter(()))


def test_a_milvus_that_is_not_there_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"milvus://127\.0\.0\.1:1 cannot be asked"):
        fill_collection("milvus://127.0.0.1:1", "cells", 4, 0, iter(()))


class Milvus:
    """A server that has any collection, and keeps the tokens that were sent to it."""

    sent: ClassVar[dict[str, str]] = {}

    def __init__(self, uri: str, token: str = "") -> None:
        self.sent[uri] = token

    def has_collection(self, name: str) -> bool:
        return True

    def get_collection_stats(self, name: str) -> dict[str, int]:
        return {"row_count": 0}

    def load_collection(self, name: str) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What was sent to which server."""
    monkeypatch.setattr("pymilvus.MilvusClient", Milvus)
    monkeypatch.setattr(Milvus, "sent", {})
    monkeypatch.setenv("MILVUS_TOKEN", "s3cret")
    monkeypatch.delenv("MILVUS_TOKEN_HOSTS", raising=False)
    return Milvus.sent


@pytest.mark.parametrize(
    ("hosts", "token"),
    [
        (None, ""),
        ("", ""),
        ("10.0.0.1:19530.other.org", ""),
        ("milvus:1, 10.0.0.1:19530", "s3cret"),
    ],
)
def test_a_host_that_an_index_names_gets_the_token_where_the_operator_names_it_too(
    sent: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    hosts: str | None,
    token: str,
) -> None:
    if hosts is not None:
        monkeypatch.setenv("MILVUS_TOKEN_HOSTS", hosts)
    place = {"uri": "milvus://10.0.0.1:19530", "collection": "cells", "n": 0, "dim": 4}
    MilvusNeighbors.path(tmp_path, "text").write_text(json.dumps(place))
    MilvusNeighbors.load(tmp_path, "text")
    assert sent == {"http://10.0.0.1:19530": token}


@pytest.mark.parametrize("case", ["missing", "not loaded"])
def test_a_collection_that_cannot_be_searched_leaves_no_connection(
    sent: dict[str, str], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    closed: list[Milvus] = []

    def refuse(*_: object) -> None:
        raise OSError("no memory for it")

    monkeypatch.setattr(Milvus, "close", lambda self: closed.append(self))
    if case == "missing":
        monkeypatch.setattr(Milvus, "has_collection", lambda *_: False)
    else:
        monkeypatch.setattr(Milvus, "load_collection", refuse)
    with pytest.raises(UnavailableError, match=r"has no collection|no memory"):
        MilvusNeighbors("milvus://10.0.0.1:19530", "cells", 0, 4)
    assert len(closed) == 1


def test_a_host_that_the_command_names_gets_the_token(sent: dict[str, str]) -> None:
    fill_collection("milvus://10.0.0.2:19530", "cells", 4, 0, iter(()))
    assert sent == {"http://10.0.0.2:19530": "s3cret"}


def test_files_of_an_index_cannot_say_that_their_host_is_trusted(
    sent: dict[str, str], tmp_path: Path
) -> None:
    place = {"uri": "milvus://x:1", "collection": "cells", "n": 0, "dim": 4, "trusted": True}
    MilvusNeighbors.path(tmp_path, "text").write_text(json.dumps(place))
    MilvusNeighbors.load(tmp_path, "text")
    assert sent == {"http://x:1": ""}


def test_a_token_that_was_not_sent_is_said_where_it_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MILVUS_TOKEN", "s3cret")
    with pytest.raises(UnavailableError, match="MILVUS_TOKEN_HOSTS=127") as refused:
        MilvusNeighbors("milvus://127.0.0.1:1", "cells", 0, 4)
    assert "s3cret" not in str(refused.value)
