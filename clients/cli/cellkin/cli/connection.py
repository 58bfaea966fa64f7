"""How the commands connect: by what the environment says of tokens and certificates."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cellkin.client import Client


def connect(server: str) -> "Client":
    """Connect to a server.

    ``CELLKIN_TOKEN`` is sent with every request. TLS is used where ``CELLKIN_TLS_CA`` names the
    authorities that may vouch for the server, or is ``system`` for those of the system;
    ``CELLKIN_TLS_CERT`` and ``CELLKIN_TLS_KEY`` are the client's own certificate and key.

    Parameters
    ----------
    server
        ``host:port``.
    """
    from cellkin.client import Client, Tls

    ca, cert, key = (os.environ.get(f"CELLKIN_TLS_{name}") for name in ("CA", "CERT", "KEY"))
    tls = None
    if ca or cert:
        paths = (None if ca == "system" else ca, cert, key)
        tls = Tls(*(Path(path) if path else None for path in paths))
    return Client(server, token=os.environ.get("CELLKIN_TOKEN"), tls=tls)
