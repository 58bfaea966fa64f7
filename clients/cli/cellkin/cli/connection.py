"""Connections of the commands, from options, the environment or a profile."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellkin.client import Client
    from cellkin.client.transport.profile import Endpoint


def endpoint_of(server: str | None) -> "Endpoint":
    """Return the server to connect to, with the credentials of the environment or a profile.

    Parameters
    ----------
    server
        ``host:port``; None for ``CELLKIN_ADDRESS``, or a profile; see
        `cellkin.client.transport.profile`.
    """
    from cellkin.client.transport.profile import environment_endpoint, find_endpoint

    return find_endpoint() if server is None else environment_endpoint(server)


def connect(server: str | None) -> "Client":
    """Connect to a server; see `endpoint_of`."""
    from cellkin.client import Client

    found = endpoint_of(server)
    return Client(found.address, token=found.token, tls=found.tls)
