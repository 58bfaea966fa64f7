"""Connections: which server and credentials, and channels."""

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from cellkin.cli.connection import endpoint_of
from cellkin.client import AsyncClient
from cellkin.client.transport.connection import Channel
from cellkin.client.transport.profile import Endpoint, find_endpoint
from cellkin.client.transport.tls import Tls
from cellkin.wire.errors import InvalidArgumentError, UnavailableError


def test_two_clients_of_one_server_are_two_connections() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.settimeout(3)
        address = "{}:{}".format(*server.getsockname())
        for _ in range(2):
            channel = Channel(Endpoint(address), grpc).channel
            stack.callback(channel.close)
            stack.callback(channel.unary_unary("/a/b").future(b"", wait_for_ready=True).cancel)
        # Both are kept: one that is closed would be opened again.
        for _ in range(2):
            stack.enter_context(server.accept()[0])


@pytest.mark.parametrize(
    ("variables", "tls"),
    [
        ({}, None),
        ({"KEY": "k.pem"}, Tls(key=Path("k.pem"))),
        ({"CA": "system"}, Tls()),
        ({"CA": "~/ca.pem"}, Tls(Path("~/ca.pem").expanduser())),
    ],
)
def test_credentials_are_the_same_for_a_named_server(
    variables: dict[str, str], tls: Tls | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CA", "CERT", "KEY"):
        monkeypatch.delenv(f"CELLKIN_TLS_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"CELLKIN_TLS_{name}", value)
    monkeypatch.setenv("CELLKIN_TOKEN", "t")
    monkeypatch.setenv("CELLKIN_ADDRESS", "here:1")
    assert endpoint_of("here:1") == find_endpoint() == Endpoint("here:1", "t", tls)
    assert endpoint_of("there:2").address == "there:2"


def test_a_key_without_its_certificate_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="give both"):
        Channel(Endpoint("here:1", tls=Tls(key=Path("k.pem"))), grpc)


def test_a_derived_client_belongs_to_the_loop_of_its_first_request() -> None:
    # Made before a loop runs.
    client = AsyncClient("127.0.0.1:9", attempts=1)
    derived = client.using(timeout_s=5).using(timeout_s=3)

    async def ask() -> None:
        for each in (derived, client):
            with pytest.raises(UnavailableError):
                await each.get_cell_index("trio")
        assert derived._channel is client._channel
        await derived.close()

    asyncio.run(ask())
