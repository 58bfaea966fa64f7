"""Settings of the server process."""

import ipaddress
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cellkin.store.machine import n_cores
from cellkin.wire.errors import InvalidArgumentError

PREFIX = "CELLKIN_SERVER__"


class ServerSettings(BaseSettings):
    """Settings of a server; every field can be set as ``CELLKIN_SERVER__FIELD``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, use_attribute_docstrings=True)

    store: str
    """URI of the store."""
    listen: str = "127.0.0.1:50051"
    """``host:port``; port 0 takes a free one."""
    plaintext: bool = False
    """Whether to listen beyond this machine without TLS."""
    indexes: tuple[str, ...] = ()
    """Names of the cell indexes loaded at the start; empty for all."""
    text_models: tuple[str, ...] = ()
    """Language models loaded at the start, for free-text searches of genes."""
    processes: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that share the port and the memory-mapped indexes."""

    tls_cert: Path | None = None
    """PEM file of the server's certificate chain; reloaded when it changes."""
    tls_key: Path | None = None
    """PEM file of its key; reloaded when it changes."""
    tls_client_ca: Path | None = None
    """PEM file of the CAs that must have signed clients' certificates; unset requires none."""
    tokens: Path | None = None
    """File of SHA-256 digests of bearer tokens with names and roles; reloaded when it changes."""
    admin: Literal["local", "token", "none"] | None = None
    """Who may call admin methods: this machine, tokens with the admin role, or nobody.

    By default ``token`` if there is a token file. Without one, ``local`` if the server listens on a
    loopback address without ``plaintext``, else ``none``.
    """

    backups: tuple[str, ...] = ()
    """URIs that admins may have the store backed up to, by BackUpStore."""

    metrics: str = ""
    """``host:port`` of the metrics page; further processes use the next ports. Empty for none."""
    traces: str = ""
    """URL of an OpenTelemetry collector for traces by OTLP over HTTP; empty for none."""
    json_logs: bool = False
    """Whether log lines are JSON."""
    request_log: bool = False
    """Whether every request is logged."""
    audit_log: Path | None = None
    """File to which requests that change something are appended as JSON, besides the log."""

    threads: Annotated[int, Field(ge=1, le=1024)] = 64
    """Maximum number of concurrent requests, including those that wait for a shared search."""
    cores: Annotated[int, Field(ge=1, le=1024)] = Field(default_factory=n_cores)
    """Maximum number of parallel searches of inverted lists and graphs; idle ones share a block."""
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    """Where more than 128 queries of one message are searched: ``cpu``, ``cuda`` or ``cuda:N``."""
    queue: Annotated[int, Field(ge=0, le=100_000)] = 256
    """Requests that may wait for a thread; more are refused."""
    max_wait_s: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """Longest wait for a thread in seconds; a request expected to wait longer is refused."""
    message_wait_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Seconds from the headers of a request to the end of its first message."""
    streams: Annotated[int, Field(ge=1, le=4096)] = 128
    """Maximum number of open streams."""
    stream_idle_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Seconds that a stream waits for its client to send or to read."""
    stream_age_s: Annotated[float, Field(gt=0, le=604_800)] = 21_600.0
    """Seconds that a stream may stay open."""
    client_requests: Annotated[int, Field(ge=1, le=100_000)] = 128
    """Maximum number of open requests of one client, a token or a connection."""
    client_streams: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Maximum number of open streams of one client; by default a quarter of `streams`."""
    max_k: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """Largest k of a query."""
    max_message_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 30)] = 64 << 20
    """Largest message in bytes, received or sent."""
    max_loaded: Annotated[int, Field(ge=1, le=1000)] = 32
    """Maximum number of names kept loaded."""
    refresh_s: Annotated[float, Field(ge=0.05, le=3600)] = 2.0
    """Seconds between reads of the catalog, after which new versions are seen."""
    grace_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """Seconds that running requests may take to finish when the server stops; 0 stops at once."""

    @model_validator(mode="after")
    def _whole(self) -> "ServerSettings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidArgumentError("tls_cert and tls_key go together; give both or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise InvalidArgumentError("tls_client_ca asks for TLS; give tls_cert and tls_key too")
        for what, address in (("listen", self.listen), ("metrics", self.metrics)):
            if address or what == "listen":
                self._check_encrypted(what, address)
        self._check_admin()
        return self

    def _check_encrypted(self, what: str, address: str) -> None:
        host, _ = parse_address(address, what)
        if self.tls_cert is None and not self.plaintext and not is_this_machine(host):
            raise InvalidArgumentError(
                f"{what} {address} can be reached from other machines, and without TLS whatever is "
                "asked, and any token, can be read on the way; give --tls-cert and --tls-key, or "
                "--plaintext if another layer encrypts"
            )

    def _check_admin(self) -> None:
        if self.admin == "token" and self.tokens is None:
            raise InvalidArgumentError("admin is token and there are none; give --tokens FILE too")
        if self.admin != "local":
            return
        if self.tokens is not None:
            raise InvalidArgumentError(
                "admin is local, and with a token file every request needs a token; give "
                "--admin token, and the role admin to those who may"
            )
        if self.plaintext:
            raise InvalidArgumentError(
                "admin is local and --plaintext says that another layer stands before the server: "
                "behind a proxy every caller seems to be on this machine; give --tokens FILE, or "
                "--admin none"
            )

    @property
    def administered_by(self) -> str:
        """Who may call admin methods: ``local``, ``token`` or ``none``."""
        if self.admin is not None:
            return self.admin
        if self.tokens is not None:
            return "token"
        alone = is_this_machine(parse_address(self.listen, "listen")[0]) and not self.plaintext
        return "local" if alone else "none"


def check_environment(names: Iterable[str]) -> None:
    """Raise for environment variables with the server's prefix that are not settings.

    Parameters
    ----------
    names
        Names of all environment variables.

    Raises
    ------
    InvalidArgumentError
        If there is one; the message suggests a setting.
    """
    known = sorted(ServerSettings.model_fields)
    for name in sorted(names):
        setting = name.lower().removeprefix(PREFIX.lower())
        if not name.upper().startswith(PREFIX) or setting in known:
            continue
        near = get_close_matches(setting, known, 1)
        meant = f"did you mean {PREFIX}{near[0].upper()}?" if near else "--print-config shows all"
        raise InvalidArgumentError(f"{name} is no setting of the server; {meant}")


def parse_address(text: str, what: str) -> tuple[str, int]:
    """Parse ``host:port``.

    Raises
    ------
    InvalidArgumentError
        If the text has another format.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise InvalidArgumentError(
            f"{what} address {text!r}; give HOST:PORT, such as 127.0.0.1:50051"
        )
    return host, int(port)


def is_this_machine(host: str) -> bool:
    """Return whether an address can be reached only from this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
