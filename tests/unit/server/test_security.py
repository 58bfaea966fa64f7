"""Tokens: known by their digest, with roles, and read again when the file changes."""

import hashlib
import itertools
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from cellkin.server import security
from cellkin.server.security import (
    ADMIN,
    READ,
    Access,
    Principal,
    Tokens,
    require_role,
    tls_credentials,
)
from cellkin.wire.errors import InputFileError, PermissionDeniedError, UnauthenticatedError


def line(name: str, roles: str, token: str) -> str:
    return f"{name} {roles} sha256:{hashlib.sha256(token.encode()).hexdigest()}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("# who may ask\n\n" + line("ana", "read", "s3cret") + line("ops", "admin", "k"))
    return path


def bearing(token: str) -> dict[str, str | bytes]:
    return {"authorization": f"Bearer {token}"}


def test_who_bears_which_token(path: Path) -> None:
    tokens = Tokens(path)
    assert tokens.principal(bearing("s3cret")) == Principal("ana", frozenset({READ}))
    assert tokens.principal(bearing("k")).roles == {ADMIN}
    assert "s3cret" not in path.read_text()


@pytest.mark.parametrize(
    "metadata",
    [{}, bearing(""), bearing("guess"), {"authorization": "Basic s3cret"}, {"authorization": b"x"}],
)
def test_who_is_not_known(path: Path, metadata: dict[str, str | bytes]) -> None:
    with pytest.raises(UnauthenticatedError):
        Tokens(path).principal(metadata)


def test_roles(path: Path) -> None:
    ana, ops = Principal("ana", frozenset({READ})), Principal("ops", frozenset({ADMIN}))
    require_role(ana, READ, "m")
    require_role(ops, READ, "m")
    require_role(ops, ADMIN, "m")
    with pytest.raises(PermissionDeniedError, match="ana has not the role 'admin' that m needs"):
        require_role(ana, ADMIN, "m")


_times = itertools.count(1)


def written(path: Path, *lines: str) -> None:
    """Write the file anew; two writings within a tick of the clock may be of one size."""
    path.write_text("".join(lines))
    time = next(_times)
    os.utime(path, ns=(time, time))


def test_a_file_that_changes_is_read_again(path: Path) -> None:
    tokens = Tokens(path)
    written(path, line("bo", "read,admin", "new"))
    assert tokens.principal(bearing("new")).name == "bo"
    with pytest.raises(UnauthenticatedError):
        tokens.principal(bearing("s3cret"))


def test_of_a_damaged_file_the_good_lines_count_and_no_line_that_is_gone(path: Path) -> None:
    tokens = Tokens(path)
    ops = tokens.principal(bearing("k"))
    with capture_logs() as logs:
        written(path, "ana reed sha256:beef\n", line("ops", "admin", "k"))
        for _ in range(10):
            assert tokens.principal(bearing("k")) == ops
            with pytest.raises(UnauthenticatedError):
                tokens.principal(bearing("s3cret"))
    assert [(log["event"], log["n_tokens"]) for log in logs] == [("token file damaged", 1)]
    assert "line 1" in logs[0]["error"]
    assert "beef" not in str(logs)


@pytest.mark.parametrize("gone", ["removed", "a folder"])
def test_of_a_file_that_cannot_be_read_no_token_is_good(path: Path, gone: str) -> None:
    tokens = Tokens(path)
    content = path.read_text()
    path.unlink()
    if gone == "a folder":
        path.mkdir()
    with capture_logs() as logs:
        for _ in range(10):
            with pytest.raises(UnauthenticatedError):
                tokens.principal(bearing("k"))
    assert [log["event"] for log in logs] == ["token file damaged"]
    if gone == "a folder":
        path.rmdir()
    path.write_text(content)
    assert tokens.principal(bearing("k")).name == "ops"


@pytest.mark.parametrize(
    "others",
    [[], [line("ana", "read", "another")], [line("ana", "admin", "s3cret")], ["ana\n"]],
    ids=["gone", "another token of the name", "other roles", "damaged"],
)
def test_a_token_that_is_revoked_is_not_known_any_more(path: Path, others: list[str]) -> None:
    tokens = Tokens(path)
    access = Access(tokens, "token")
    ana = access.admit(READ, "m", "ipv4:10.0.0.1:7", bearing("s3cret"))
    assert ana is not None
    assert tokens.still_known(ana)
    written(path, "# kept\n", line("ops", "admin", "k"), line("ana", "read", "s3cret"))
    assert access.still_admits(ana)
    written(path, line("ops", "admin", "k"), *others)
    assert not tokens.still_known(ana)
    assert not access.still_admits(ana)


def test_where_there_is_no_token_file_nobody_is_revoked() -> None:
    assert Access(None, "none").still_admits(None)


NEAR, FAR = "ipv4:127.0.0.1:9", "ipv4:10.0.0.1:9"


@pytest.mark.parametrize("peer", [NEAR, "ipv6:[::1]:9", "ipv6:%5B::1%5D:9"])
def test_this_machine_may_administer_where_that_is_said(peer: str) -> None:
    assert Access(None, "local").admit(ADMIN, "m", peer, {}) is None
    assert Access(None, "none").admit(READ, "m", peer, {}) is None
    with pytest.raises(PermissionDeniedError, match="not administered"):
        Access(None, "none").admit(ADMIN, "m", peer, {})


@pytest.mark.parametrize(
    ("peer", "metadata"),
    [
        (FAR, {}),
        (NEAR, {"x-forwarded-for": "10.0.0.1"}),
        (NEAR, {"forwarded": "for=10.0.0.1"}),
        (NEAR, {"x-envoy-external-address": "10.0.0.1"}),
        (NEAR, {"via": "2 proxy"}),
    ],
)
def test_who_comes_through_a_proxy_is_not_of_this_machine(
    peer: str, metadata: dict[str, str | bytes]
) -> None:
    assert Access(None, "local").admit(READ, "m", peer, metadata) is None
    with pytest.raises(PermissionDeniedError, match="proxies"):
        Access(None, "local").admit(ADMIN, "m", peer, metadata)


def test_with_tokens_the_role_is_what_counts(path: Path) -> None:
    access = Access(Tokens(path), "token")
    assert access.admit(ADMIN, "m", FAR, bearing("k")) == Principal("ops", frozenset({ADMIN}))
    with pytest.raises(PermissionDeniedError, match="role"):
        access.admit(ADMIN, "m", NEAR, bearing("s3cret"))
    with pytest.raises(UnauthenticatedError):
        access.admit(ADMIN, "m", NEAR, {})
    with pytest.raises(PermissionDeniedError, match="command"):
        Access(Tokens(path), "none").admit(ADMIN, "m", NEAR, bearing("k"))


@pytest.mark.parametrize(
    "content",
    ["ana read", "ana read sha256:abc", "ana root sha256:" + "0" * 64, "\udcff"],
)
def test_a_file_that_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputFileError):
        Tokens(path)
    with pytest.raises(InputFileError):
        Tokens(tmp_path / "none")


def test_a_handshake_never_brings_back_an_older_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Twice:
        """Files that were renewed twice before a handshake took the certificate."""

        def __init__(self, paths: tuple[Path, ...]) -> None:
            self.n_left = 2

        def when_changed(self, read: Callable[[], None]) -> None:
            while self.n_left:
                read()
                self.n_left -= 1

    given: list[Any] = []
    numbers = itertools.count()
    monkeypatch.setattr(security, "_Watched", Twice)
    monkeypatch.setattr(security, "_read_certificates", lambda *_: next(numbers))
    monkeypatch.setattr(grpc, "dynamic_ssl_server_credentials", lambda *args: given.extend(args))
    tls_credentials(Path("c"), Path("k"), None)
    first, at_handshake, _ = given
    assert (first, at_handshake(), at_handshake()) == (0, 2, None)


def test_a_token_expires_at_its_time_and_its_streams_end(path: Path) -> None:
    noon = datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp()
    now = [noon - 1]
    written(
        path, line("ana", "read", "a").strip() + " expires=2027-01-31T12:00 requests=60\n",
        line("bo", "read", "b").strip() + " cells=7 streams=2 expires=2027-02-01\n",
    )  # fmt: skip
    tokens = Tokens(path, lambda: now[0])
    ana = tokens.principal(bearing("a"))
    assert ana.limits == {"requests": 60}
    assert tokens.principal(bearing("b")).limits == {"cells": 7, "streams": 2}
    assert tokens.still_known(ana)
    assert tokens.expiries() == {"ana": noon, "bo": noon + 12 * 3600}
    now[0] = noon
    assert not tokens.still_known(ana)
    with pytest.raises(UnauthenticatedError, match="of ana expired at 2027-01-31 12:00 UTC"):
        tokens.principal(bearing("a"))
    assert tokens.principal(bearing("b")).name == "bo"
    now[0] += 12 * 3600
    with pytest.raises(UnauthenticatedError, match="of bo expired"):
        tokens.principal(bearing("b"))


@pytest.mark.parametrize(
    "terms",
    ["expires=soon", "requests=0", "cells=many", "calls=5", "requests=1 requests=2", "expires=",
     "requests=-1", "rest"],
)  # fmt: skip
def test_terms_that_are_none_let_nobody_in(path: Path, terms: str) -> None:
    path.write_text(line("ana", "read", "a").strip() + f" {terms}\n")
    with pytest.raises(InputFileError, match=r"expires=YYYY-MM-DD and requests=N, cells=N"):
        Tokens(path)
