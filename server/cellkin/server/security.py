"""Who may ask: tokens with roles, and TLS whose certificates can change while the server runs."""

import hashlib
import re
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
# What proxies add to requests that they pass on.
_FORWARDED = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip"})
_FORWARDING = ("x-forwarded-", "x-envoy-")


@dataclass(frozen=True)
class Principal:
    """Who bears a token.

    Parameters
    ----------
    name
        As the file calls them.
    roles
        ``read``, ``admin`` or both.
    digest
        SHA-256 of the token.
    """

    name: str
    roles: frozenset[str]
    digest: str = field(default="", repr=False, compare=False)


class _Watched:
    """Files that are read again when they change; a change that cannot be read changes nothing.

    What keeps them from being read is logged once, however often they are asked for.
    """

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._state = _state(paths)
        self._said = ""

    def when_changed(self, read: Callable[[], None]) -> None:
        """Read the files if they are others than before."""
        with self._lock:
            try:
                state = _state(self._paths)
                if state == self._state:
                    return
                read()
            except (OSError, InputFileError) as error:
                if str(error) != self._said:
                    self._said = str(error)
                    _log.warning(
                        "file unreadable", paths=list(map(str, self._paths)), error=self._said
                    )
                return
            self._state, self._said = state, ""
        _log.info("file read again", paths=list(map(str, self._paths)))


def _state(paths: tuple[Path, ...]) -> tuple[tuple[int, int, int], ...]:
    """Return what tells one content of files from another."""
    stats = [path.stat() for path in paths]
    return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in stats)


class Tokens:
    """The bearer tokens a server knows, by their SHA-256, so that the file gives none away.

    A line is ``NAME ROLES sha256:DIGEST``, roles separated by commas; ``#`` begins a comment. An
    attacker who can write a guess per request gains nothing from timing: what is looked up is the
    digest of the guess.

    The file is looked at whenever a token is, and read again when it changed. Then a line of
    another form counts for nothing and the others count, so that a token whose line is gone is
    never good. Of a file that is gone or cannot be read no token is. Either is logged once.

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
        self._lock = threading.Lock()
        self._known: Mapping[str, Principal] = {}
        self._state: object = None
        wrong = self._read()
        if wrong:
            raise InputFileError(wrong)

    def principal(self, metadata: Mapping[str, str | bytes]) -> Principal:
        """Return who asks.

        Raises
        ------
        UnauthenticatedError
            If no token is given, or one the file does not have.
        """
        self._follow()
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

    def still_known(self, principal: Principal) -> bool:
        """Say whether the token somebody came with is good still, for the same name and roles.

        Costs no more than a look at the state of the file, unless it changed.
        """
        self._follow()
        return self._known.get(principal.digest) == principal

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self._known)

    def _follow(self) -> None:
        with self._lock:
            before = self._state
            wrong = self._read()
            if self._state == before:
                return
        if wrong:
            _log.warning("token file damaged", error=wrong, n_tokens=len(self))
        else:
            _log.info("token file read again", path=str(self._path), n_tokens=len(self))

    def _read(self) -> str:
        """Read the file if it changed; return what is wrong with it."""
        try:
            state: object = _state((self._path,))
            if state == self._state:
                return ""
            lines = self._path.read_bytes().splitlines()
        except OSError as error:
            wrong = f"token file {self._path} cannot be read: {error.strerror}"
            # Not the state of the file: it is to be tried again, and to be said once.
            self._known, self._state = {}, wrong
            return wrong
        self._state = state
        return self._parse(lines)

    def _parse(self, lines: Sequence[bytes]) -> str:
        known, wrong = {}, []
        for number, line in enumerate(lines, 1):
            content = line.decode(errors="replace").partition("#")[0].strip()
            if not content:
                continue
            found = _LINE.fullmatch(content)
            roles = frozenset(found["roles"].split(",")) if found else frozenset()
            if found is None or not roles <= _ROLES or "\ufffd" in content:
                wrong.append(str(number))
                continue
            digest = found["digest"].lower()
            known[digest] = Principal(found["name"], roles, digest)
        self._known = known
        if not wrong:
            return ""
        return (
            f"token file {self._path}, line {', '.join(wrong)}: give NAME ROLES sha256:DIGEST, "
            f"where roles are {' and '.join(sorted(_ROLES))}, separated by a comma"
        )


class Access:
    """Who may ask for what.

    Parameters
    ----------
    tokens
        Whose bearers may ask; None lets anybody read.
    admin
        Who may change what is served: ``token`` for bearers with that role, ``none`` for nobody,
        ``local`` for this machine. Behind a proxy every caller seems to be on this machine, so a
        request that was forwarded is not taken for one of it.
    """

    def __init__(self, tokens: Tokens | None, admin: str) -> None:
        self._tokens, self._admin = tokens, admin

    def admit(
        self, role: str, method: str, peer: str, metadata: Mapping[str, str | bytes]
    ) -> Principal | None:
        """Return who asks, None for somebody without a token, where none is needed.

        Parameters
        ----------
        role
            ``read`` or ``admin``: what the method needs.
        method
            ``/package.Service/Method``.
        peer
            The other end of the connection, as gRPC writes it.
        metadata
            Of the request.

        Raises
        ------
        UnauthenticatedError
            If a token is needed and is missing or unknown.
        PermissionDeniedError
            If who asks may not ask this.
        """
        principal = self._tokens.principal(metadata) if self._tokens is not None else None
        if role == ADMIN and self._admin == "none":
            raise _not_administered(method, "by requests to it; use the command on its store")
        if principal is not None:
            require_role(principal, role, method)
        elif role == ADMIN and (self._admin != "local" or not _is_near(peer, metadata)):
            raise _not_administered(
                method, "from other machines or through proxies without tokens; give it --tokens"
            )
        return principal

    def still_admits(self, principal: Principal | None) -> bool:
        """Say whether who was admitted would be so now; see `Tokens.still_known`."""
        return self._tokens is None or (
            principal is not None and self._tokens.still_known(principal)
        )


def _not_administered(method: str, how: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{method} is refused: this server is not administered {how}", {"role": ADMIN}
    )


def _is_near(peer: str, metadata: Mapping[str, str | bytes]) -> bool:
    """Say whether a request comes from this machine, and was not forwarded by a proxy on it."""
    if not peer.startswith(("ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D", "unix:")):
        return False
    return not any(name in _FORWARDED or name.startswith(_FORWARDING) for name in metadata)


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


def tls_contexts(cert: Path, key: Path, client_ca: Path | None) -> Callable[[], ssl.SSLContext]:
    """Return what gives the context of a new connection over HTTP; see `tls_credentials`."""
    current = [_context(cert, key, client_ca)]
    watched = _Watched((cert, key) if client_ca is None else (cert, key, client_ca))

    def read() -> None:
        current[0] = _context(cert, key, client_ca)

    def context() -> ssl.SSLContext:
        watched.when_changed(read)
        return current[0]

    return context


def _read_certificates(
    cert: Path, key: Path, client_ca: Path | None
) -> grpc.ServerCertificateConfiguration:
    contents = []
    for path in (key, cert, *([client_ca] if client_ca else [])):
        try:
            contents.append(path.read_bytes())
        except OSError as error:
            raise InputFileError(f"TLS file {path} cannot be read: {error.strerror}") from error
    _context(cert, key, client_ca)
    roots = contents[2] if client_ca else None
    return grpc.ssl_server_certificate_configuration([(contents[0], contents[1])], roots)


def _context(cert: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Renewed one after the other, key and certificate do not fit each other for a moment.
        context.load_cert_chain(cert, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, OSError) as error:
        raise InputFileError(
            f"TLS files {', '.join(map(str, [cert, key, *([client_ca] if client_ca else [])]))}: "
            f"{error}; give PEM files, and the key of the certificate"
        ) from error
    return context
