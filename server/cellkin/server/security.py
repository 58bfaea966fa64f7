"""Who may ask: tokens with roles, and TLS whose certificates can change while the server runs."""

import hashlib
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog

from cellkin.wire.errors import (
    InputFileError,
    PermissionDeniedError,
    UnauthenticatedError,
)

_log = structlog.get_logger("cellkin.server")
READ, ADMIN = "read", "admin"
_ROLES = frozenset({READ, ADMIN})
_LINE = re.compile(r"(?P<name>\S+)\s+(?P<roles>\S+)\s+sha256:(?P<digest>[0-9a-fA-F]{64})")
_BEARER = "Bearer "


@dataclass(frozen=True)
class Principal:
    """Who bears a token.

    Parameters
    ----------
    name
        As the file calls them.
    roles
        ``read``, ``admin`` or both.
    """

    name: str
    roles: frozenset[str]


class _Watched:
    """Files that are read again when they change; a change that cannot be read changes nothing."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._state = self.state()

    def state(self) -> tuple[tuple[int, int, int], ...]:
        """Return what tells one content of the files from another."""
        stats = [path.stat() for path in self._paths]
        return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in stats)

    def when_changed(self, read: Callable[[], None]) -> None:
        """Read the files if they are others than before."""
        with self._lock:
            try:
                state = self.state()
                if state == self._state:
                    return
                read()
            except (OSError, InputFileError) as error:
                _log.warning("file unreadable", paths=list(map(str, self._paths)), error=str(error))
                return
            self._state = state
        _log.info("file read again", paths=list(map(str, self._paths)))


class Tokens:
    """The bearer tokens a server knows, by their SHA-256, so that the file gives none away.

    A line is ``NAME ROLES sha256:DIGEST``, roles separated by commas; ``#`` begins a comment. An
    attacker who can write a guess per request gains nothing from timing: what is looked up is the
    digest of the guess.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputFileError
        If it cannot be read or a line is of another form.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._watched = _Watched((path,))
        except OSError as error:
            raise InputFileError(f"token file {path}: {error.strerror}") from error
        self._known: Mapping[str, Principal] = {}
        self._read()

    def principal(self, metadata: Mapping[str, str | bytes]) -> Principal:
        """Return who asks.

        Raises
        ------
        UnauthenticatedError
            If no token is given, or one the file does not have.
        """
        self._watched.when_changed(self._read)
        given = metadata.get("authorization", "")
        if not isinstance(given, str) or not given.startswith(_BEARER):
            raise UnauthenticatedError(
                "no token was given; send the metadata `authorization: Bearer TOKEN`"
            )
        token = given.removeprefix(_BEARER).strip()
        found = self._known.get(hashlib.sha256(token.encode()).hexdigest())
        if found is None:
            raise UnauthenticatedError(
                "the server does not know the token; ask its operator for one"
            )
        return found

    def _read(self) -> None:
        known: dict[str, Principal] = {}
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputFileError(f"token file {self._path} cannot be read: {error}") from error
        for number, line in enumerate(lines, 1):
            content = line.partition("#")[0].strip()
            if not content:
                continue
            found = _LINE.fullmatch(content)
            roles = frozenset(found["roles"].split(",")) if found else frozenset()
            if found is None or not roles <= _ROLES:
                raise InputFileError(
                    f"token file {self._path}, line {number}: give NAME ROLES sha256:DIGEST, "
                    f"where roles are {' and '.join(sorted(_ROLES))}, separated by a comma"
                )
            known[found["digest"].lower()] = Principal(found["name"], roles)
        self._known = known


def require_role(principal: Principal, role: str, method: str) -> None:
    """Refuse who lacks a role; who may administer may also read.

    Raises
    ------
    PermissionDeniedError
        If they lack it.
    """
    if role not in principal.roles and ADMIN not in principal.roles:
        raise PermissionDeniedError(
            f"{principal.name} has not the role {role!r} that {method} needs; "
            "ask the operator for a token that has",
            {"role": role, "principal": principal.name},
        )


def tls_credentials(cert: Path, key: Path, client_ca: Path | None) -> grpc.ServerCredentials:
    """Return credentials that follow their files, so that certificates are renewed by replacing.

    Parameters
    ----------
    cert, key
        PEM files of the certificate chain and its key.
    client_ca
        PEM file of the authorities whose certificates clients must have; None asks for none.

    Raises
    ------
    InputFileError
        If a file cannot be read or is no PEM.
    """
    paths = (cert, key) if client_ca is None else (cert, key, client_ca)
    first = _read_certificates(cert, key, client_ca)
    watched = _Watched(paths)
    renewed: list[grpc.ServerCertificateConfiguration] = []

    def read() -> None:
        renewed.append(_read_certificates(cert, key, client_ca))

    def at_handshake() -> grpc.ServerCertificateConfiguration | None:
        watched.when_changed(read)
        return renewed.pop() if renewed else None

    changed: Any = at_handshake  # None where nothing did, which the package's types forget
    return grpc.dynamic_ssl_server_credentials(first, changed, client_ca is not None)


def _read_certificates(
    cert: Path, key: Path, client_ca: Path | None
) -> grpc.ServerCertificateConfiguration:
    contents = []
    for path in (key, cert, *([client_ca] if client_ca else [])):
        try:
            contents.append(path.read_bytes())
        except OSError as error:
            raise InputFileError(f"TLS file {path} cannot be read: {error.strerror}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Renewed one after the other, key and certificate do not fit each other for a moment.
        context.load_cert_chain(cert, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
    except (ssl.SSLError, OSError) as error:
        raise InputFileError(
            f"TLS files {', '.join(map(str, [cert, key, *([client_ca] if client_ca else [])]))}: "
            f"{error}; give PEM files, and the key of the certificate"
        ) from error
    roots = contents[2] if client_ca else None
    return grpc.ssl_server_certificate_configuration([(contents[0], contents[1])], roots)
