"""Every client has a connection of its own, so that processes on one port share out several."""

import socket
from contextlib import ExitStack

import grpc

from cellkin.client.connection import Channel
from cellkin.client.profile import Endpoint


def test_two_clients_of_one_server_are_two_connections() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.settimeout(3)
        address = "{}:{}".format(*server.getsockname())
        for _ in range(2):
            channel = Channel(Endpoint(address), grpc).channel
            stack.callback(channel.close)
            channel.subscribe(lambda _: None, try_to_connect=True)
        # Both are kept: one that is closed would be opened again.
        for _ in range(2):
            stack.enter_context(server.accept()[0])
