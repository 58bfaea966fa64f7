"""Authentication by tokens with roles, and TLS with certificates that are reloaded."""

import hashlib
import re
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
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
_LINE = re.compile(
    r"(?P<name>\S+)\s+(?P<roles>\S+)\s+sha256:(?P<digest>[0-9a-fA-F]{64})(?P<terms>(\s+\S+=\S+)*)"
)
LIMITS = ("requests", "cells", "streams")
"""What a token can be limited to, each a minute."""
_BEARER = "Bearer "
# Headers that proxies add to forwarded requests.
_FORWARDED = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip"})
_FORWARDING = ("x-forwarded-", "x-envoy-")


@dataclass(frozen=True)
class Principal:
    """The client that a token belongs to.

    Parameters
    ----------
    name
        Name in the token file.
    roles
        ``read``, ``admin`` or both.
    digest
        SHA-256 of the token.
    expires
        When the token ends; None for never.
    limits
        Most a minute of each of `LIMITS`; without limit if absent.
    """

    name: str
    roles: frozenset[str]
    digest: str = field(default="", repr=False, compare=False)
    expires: datetime | None = field(default=None, compare=False)
    limits: Mapping[str, int] = field(default_factory=dict, compare=False)

    def is_expired(self, now_s: float) -> bool:
        """Return whether the token has ended, at seconds since the epoch."""
        return self.expires is not None and self.expires.timestamp() <= now_s


class _Watched:
    """Files that are reloaded when they change; unreadable changes are ignored.

    An error is logged once, however often the files are checked.
    """

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._state = _state(paths)
        self._said = ""

    def when_changed(self, read: Callable[[], None]) -> None:
        """Call ``read`` if the files changed."""
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
    """Return inode, size and modification time of each file."""
    stats = [path.stat() for path in paths]
    return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in stats)


class Tokens:
    """The bearer tokens of a server, stored as SHA-256 so that the file does not reveal them.

    A line is ``NAME ROLES sha256:DIGEST``, with roles separated by commas; ``#`` starts a comment.
    ``expires=2027-01-31``, a day or a time in UTC from which the token is not accepted, and
    ``requests=N``, ``cells=N`` and ``streams=N``, limits a minute, may follow. Tokens are looked up
    by digest, so response times reveal nothing about them.

    The file is checked at every use of a token, and reloaded if it changed. When reloading, invalid
    lines are ignored and the valid ones used, so a token whose line was removed is never accepted.
    If the file is missing or unreadable, no token is accepted. Both cases are logged once.

    Parameters
    ----------
    path
        The file.
    now
        Returns the seconds since the epoch.

    Raises
    ------
    InputFileError
        If it cannot be read or has an invalid line.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path, self._now = path, now
        self._lock = threading.Lock()
        self._known: Mapping[str, Principal] = {}
        self._state: object = None
        wrong = self._read()
        if wrong:
            raise InputFileError(wrong)

    def principal(self, metadata: Mapping[str, str | bytes]) -> Principal:
        """Return the client that a request's token belongs to.

        Raises
        ------
        UnauthenticatedError
            If no token is given, it is not in the file, or it has expired.
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
        if found.is_expired(self._now()):
            raise UnauthenticatedError(
                f"the token of {found.name} expired at {found.expires:%Y-%m-%d %H:%M} UTC; ask the "
                "server's operator for another"
            )
        return found

    def still_known(self, principal: Principal) -> bool:
        """Return whether a token is still valid and has the same name and roles.

        Costs one ``stat`` of the file, unless it changed.
        """
        self._follow()
        known = self._known.get(principal.digest)
        return known == principal and not principal.is_expired(self._now())

    def expiries(self) -> dict[str, float]:
        """Return when tokens expire, seconds since the epoch, by name; the first of each name."""
        known = [p for p in self._known.values() if p.expires is not None]
        last = sorted(known, key=lambda p: p.expires, reverse=True)  # type: ignore[arg-type, return-value]
        return {p.name: p.expires.timestamp() for p in last if p.expires is not None}

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
        """Read the file if it changed; return an error message, empty if there is none."""
        try:
            state: object = _state((self._path,))
            if state == self._state:
                return ""
            lines = self._path.read_bytes().splitlines()
        except OSError as error:
            wrong = f"token file {self._path} cannot be read: {error.strerror}"
            # Not a file state, so that reading is retried and the error logged once.
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
            terms = _terms(found["terms"]) if found else None
            if found is None or terms is None or not roles <= _ROLES or "\ufffd" in content:
                wrong.append(str(number))
                continue
            digest = found["digest"].lower()
            known[digest] = Principal(found["name"], roles, digest, *terms)
        self._known = known
        if not wrong:
            return ""
        return (
            f"token file {self._path}, line {', '.join(wrong)}: give NAME ROLES sha256:DIGEST, "
            f"where roles are {' and '.join(sorted(_ROLES))}, separated by a comma; "
            f"expires=YYYY-MM-DD and {', '.join(f'{what}=N' for what in LIMITS)} may follow"
        )


def _terms(text: str) -> tuple[datetime | None, dict[str, int]] | None:
    """Return expiry and limits of a line of the token file; None if they are malformed."""
    given = [term.partition("=")[::2] for term in text.split()]
    terms = dict(given)
    expires = terms.pop("expires", None)
    if len(terms) + (expires is not None) < len(given) or not terms.keys() <= set(LIMITS):
        return None
    try:
        limits = {what: int(n) for what, n in terms.items()}
        when = datetime.fromisoformat(expires) if expires else None
    except ValueError:
        return None
    if any(n < 1 for n in limits.values()):
        return None
    # Without a zone a time is of UTC, whatever the zone of the machine.
    return when and (when if when.tzinfo else when.replace(tzinfo=UTC)), limits


class Access:
    """Authorization of requests.

    Parameters
    ----------
    tokens
        Accepted tokens; None lets every client read.
    admin
        Who may call admin methods: ``token`` for tokens with the admin role, ``local`` for clients
        on this machine, ``none`` for nobody. Behind a proxy all clients appear to be on this
        machine, so forwarded requests never count as local.
    """

    def __init__(self, tokens: Tokens | None, admin: str) -> None:
        self._tokens, self._admin = tokens, admin

    def admit(
        self, role: str, method: str, peer: str, metadata: Mapping[str, str | bytes]
    ) -> Principal | None:
        """Return the client of a request; None if no token is required.

        Parameters
        ----------
        role
            ``read`` or ``admin``, the role that the method needs.
        method
            ``/package.Service/Method``.
        peer
            Address of the client, as gRPC formats it.
        metadata
            Metadata of the request.

        Raises
        ------
        UnauthenticatedError
            If a token is required and is missing or unknown.
        PermissionDeniedError
            If the client may not call the method.
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
        """Return whether an admitted client would still be admitted; see `Tokens.still_known`."""
        return self._tokens is None or (
            principal is not None and self._tokens.still_known(principal)
        )


def _not_administered(method: str, how: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{method} is refused: this server is not administered {how}", {"role": ADMIN}
    )


def _is_near(peer: str, metadata: Mapping[str, str | bytes]) -> bool:
    """Return whether a request comes from this machine and was not forwarded by a proxy."""
    if not peer.startswith(("ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D", "unix:")):
        return False
    return not any(name in _FORWARDED or name.startswith(_FORWARDING) for name in metadata)


def require_role(principal: Principal, role: str, method: str) -> None:
    """Check the role of a client; admins may also read.

    Raises
    ------
    PermissionDeniedError
        If the client does not have the role.
    """
    if role not in principal.roles and ADMIN not in principal.roles:
        raise PermissionDeniedError(
            f"{principal.name} has not the role {role!r} that {method} needs; "
            "ask the operator for a token that has",
            {"role": role, "principal": principal.name},
        )


def tls_credentials(cert: Path, key: Path, client_ca: Path | None) -> grpc.ServerCredentials:
    """Return credentials that are reloaded when their files change.

    Parameters
    ----------
    cert, key
        PEM files of the certificate chain and its key.
    client_ca
        PEM file of the CAs that must have signed clients' certificates; None requires none.

    Raises
    ------
    InputFileError
        If a file cannot be read or is not PEM.
    """
    paths = (cert, key) if client_ca is None else (cert, key, client_ca)
    first = _read_certificates(cert, key, client_ca)
    watched = _Watched(paths)
    # Handshakes run on several threads; at most the newest certificate is kept.
    renewed: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)

    def read() -> None:
        renewed.append(_read_certificates(cert, key, client_ca))

    def at_handshake() -> grpc.ServerCertificateConfiguration | None:
        watched.when_changed(read)
        with suppress(IndexError):
            return renewed.pop()
        return None

    changed: Any = at_handshake  # may return None, which the package's types omit
    return grpc.dynamic_ssl_server_credentials(first, changed, client_ca is not None)


def tls_contexts(cert: Path, key: Path, client_ca: Path | None) -> Callable[[], ssl.SSLContext]:
    """Return a function that returns the current TLS context; see `tls_credentials`."""
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
        # During renewal, key and certificate may not match for a moment; this raises then.
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
