"""Tokens: known by their digest, with roles, and read again when the file changes."""

import hashlib
import os
from pathlib import Path

import pytest

from cellkin.server.security import ADMIN, READ, Principal, Tokens, require_role
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


def test_a_file_that_changes_is_read_again_and_one_that_breaks_changes_nothing(path: Path) -> None:
    tokens = Tokens(path)
    path.write_text(line("bo", "read,admin", "new"))
    os.utime(path, ns=(1, 1))
    assert tokens.principal(bearing("new")).name == "bo"
    with pytest.raises(UnauthenticatedError):
        tokens.principal(bearing("s3cret"))
    path.write_text("nonsense")
    assert tokens.principal(bearing("new")).name == "bo"
    path.unlink()
    assert tokens.principal(bearing("new")).name == "bo"


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
