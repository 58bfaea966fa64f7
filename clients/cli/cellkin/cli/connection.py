"""Connections of the commands, from options, the environment or a profile."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellkin.client import Client
    from cellkin.client.profile import Endpoint


def endpoint_of(server: str | None) -> "Endpoint":
    """Return the server to connect to, with credentials.

    ``CELLKIN_TOKEN`` is sent with every request. TLS is used if ``CELLKIN_TLS_CA`` names a file of
    trusted certificate authorities, or is ``system`` for those of the system; ``CELLKIN_TLS_CERT``
    and ``CELLKIN_TLS_KEY`` are the client's own certificate and key.

    Parameters
    ----------
    server
        ``host:port``; None for ``CELLKIN_ADDRESS``, or a profile of `cellkin.client.profile`.
    """
    from cellkin.client.profile import Endpoint, find_endpoint
    from cellkin.client.tls import Tls

    if server is None:
        return find_endpoint()
    ca, cert, key = (os.environ.get(f"CELLKIN_TLS_{name}") for name in ("CA", "CERT", "KEY"))
    tls = None
    if ca or cert:
        paths = (None if ca == "system" else ca, cert, key)
        tls = Tls(*(Path(path) if path else None for path in paths))
    return Endpoint(server, os.environ.get("CELLKIN_TOKEN"), tls)


def connect(server: str | None) -> "Client":
    """Connect to a server; see `endpoint_of`."""
    from cellkin.client import Client

    found = endpoint_of(server)
    return Client(found.address, token=found.token, tls=found.tls)
