"""The web server of the pages."""

import ipaddress
import signal
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import panel as pn
from tornado.web import RequestHandler

from cellkin.cli.connection import connect, endpoint_of
from cellkin.cli.folder import Files
from cellkin.explore.downloads import Download
from cellkin.explore.page import build
from cellkin.explore.session import Session, Shared

_MESSAGE_BYTES = 20 << 20
"""Largest message of a browser; files come in chunks."""
_UNUSED_MS = 5_000
"""Time for which the data of a closed tab are kept."""


@dataclass(frozen=True)
class Settings:
    """Settings of the web server.

    Parameters
    ----------
    server
        ``host:port`` of the cellkin server; None for one from the environment or a profile.
    host, port
        Where browsers connect; port 0 takes a free one.
    origins
        Other names by which browsers reach the pages.
    files
        Folder of files that users may label without an upload; None for none.
    max_upload_mb
        Largest file that may be uploaded, in megabytes.
    """

    server: str | None
    host: str
    port: int
    origins: tuple[str, ...]
    files: Path | None
    max_upload_mb: int


def serve(settings: Settings) -> None:
    """Serve the pages until SIGTERM or SIGINT.

    Raises
    ------
    UnavailableError
        If the cellkin server does not respond.
    """
    address = endpoint_of(settings.server).address
    with (
        connect(settings.server) as client,
        TemporaryDirectory(prefix="cellkin-explore-") as folder,
    ):
        next(client.list_aliases(), None)  # it is there, and the token may read
        files = Files(settings.files) if settings.files else None
        shared = Shared(client, address, Path(folder), files, settings.max_upload_mb)
        web = web_server(shared, settings)
        web.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: web.io_loop.add_callback_from_signal(web.io_loop.stop))
        click.echo(f"exploring {address} at {address_of(settings.host, web.port)}")
        if not is_this_machine(settings.host):
            click.echo(
                "WARNING: whoever reaches this address may read what this server's token may, and "
                "nothing is encrypted; put it behind a proxy that does both",
                err=True,
            )
        try:
            web.io_loop.start()
        finally:
            web.stop()
            shared.close()


def web_server(shared: Shared, settings: Settings) -> Any:
    """Return a web server that is not started yet."""
    if not settings.port:
        settings = replace(settings, port=_free_port(settings.host))

    def page() -> Any:
        session = Session(shared)
        pn.state.on_session_destroyed(lambda _: session.close())
        return build(session)

    return pn.serve(
        {"/": page},
        port=settings.port,
        address=settings.host,
        start=False,
        show=False,
        verbose=False,
        title="cellkin",
        websocket_origin=origins_of(settings),
        websocket_max_message_size=_MESSAGE_BYTES,
        unused_session_lifetime_milliseconds=_UNUSED_MS,
        check_unused_sessions_milliseconds=_UNUSED_MS,
        extra_patterns=[
            (r"/download/([\w-]+)", Download, {"files": shared.downloads}),
            (r"/healthz", _Health),
        ],
    )


class _Health(RequestHandler):
    """Says that the process answers; a page asked for would be a session."""

    def get(self) -> None:
        self.finish("ok\n")


def address_of(host: str, port: int) -> str:
    """Return the address for a browser."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_this_machine(host: str) -> bool:
    """Return whether only programs of this machine can connect."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def origins_of(settings: Settings) -> list[str]:
    """Return the names by which browsers may reach the pages."""
    names = {"localhost"} if is_this_machine(settings.host) else set()
    names |= set() if ":" in settings.host else {settings.host}  # Bokeh reads no IPv6 address
    return [*(f"{name}:{settings.port}" for name in sorted(names)), *settings.origins]


def _free_port(host: str) -> int:
    """Return a port that is free now; origins of browsers need it before the server starts."""
    with socket.create_server((host, 0), family=_family(host)) as taken:
        return int(taken.getsockname()[1])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
