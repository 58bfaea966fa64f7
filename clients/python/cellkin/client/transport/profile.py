"""The server to use, from environment variables or the user's configuration file.

``CELLKIN_ADDRESS`` is the server, ``CELLKIN_TOKEN`` a token, ``CELLKIN_TLS_CA`` a PEM file of
trusted certificate authorities (or ``system``), ``CELLKIN_TLS_CERT`` and ``CELLKIN_TLS_KEY`` the
client's own certificate and key. Without ``CELLKIN_ADDRESS``, the file
``~/.config/cellkin/client.toml`` (under ``XDG_CONFIG_HOME`` or ``APPDATA`` if set) is read, if it
exists. It has one table per profile; ``CELLKIN_PROFILE`` names one other than ``default``.

::

    [default]
    address = "127.0.0.1:50051"

    [lab]
    address = "cells.example.org:443"
    token_file = "~/.config/cellkin/token"
    tls_ca = "system"
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cellkin.client.transport.tls import Tls
from cellkin.wire.errors import InputFileError, InvalidArgumentError, NotFoundError

DEFAULT_ADDRESS = "127.0.0.1:50051"
_NO_ADDRESS = re.compile(r"^https?:|[\s?#]|^$", re.IGNORECASE)
_KEYS = ("address", "token", "token_file", "tls_ca", "tls_cert", "tls_key")


@dataclass(frozen=True)
class Endpoint:
    """A server with credentials.

    Parameters
    ----------
    address
        ``host:port``.
    token
        Token sent with every request; only over TLS, or to this machine.
    tls
        TLS settings; None for an unencrypted connection.

    Raises
    ------
    InvalidArgumentError
        If the address is that of a web page, or cannot be one at all.
    """

    address: str = DEFAULT_ADDRESS
    token: str | None = None
    tls: Tls | None = None

    def __post_init__(self) -> None:
        # gRPC would look it up as a name, or fail with lines of its own on standard error.
        if _NO_ADDRESS.search(self.address):
            raise InvalidArgumentError(
                f"the server's address is {self.address!r}; give HOST:PORT, such as "
                f"{DEFAULT_ADDRESS}, without http:// (CELLKIN_TLS_CA encrypts)"
            )


def find_endpoint(profile: str | None = None) -> Endpoint:
    """Return the server of a profile, of the environment, or of the profile ``default``.

    Parameters
    ----------
    profile
        A table of the file; None to use the environment.

    Raises
    ------
    NotFoundError
        If a named profile does not exist.
    InputFileError
        If the file, or the token file, cannot be read.
    InvalidArgumentError
        If a profile has an unknown key, or no address.
    """
    if profile is None and (address := os.environ.get("CELLKIN_ADDRESS")):
        return environment_endpoint(address)
    wanted = profile or os.environ.get("CELLKIN_PROFILE", "")
    path = profile_file()
    profiles = _read(path) if path.is_file() else {}
    if wanted and wanted not in profiles:
        raise NotFoundError(
            f"no profile {wanted!r} in {path}; it has: {', '.join(profiles) or 'none'}"
        )
    given = profiles.get(wanted or "default")
    if given is None:
        return Endpoint()
    unknown = sorted(set(given) - set(_KEYS))
    if unknown or "address" not in given:
        raise InvalidArgumentError(
            f"profile {wanted or 'default'} in {path} has "
            + (f"{', '.join(unknown)}; give any of " if unknown else "no address; give ")
            + ", ".join(_KEYS)
        )
    return _endpoint(given)


def environment_endpoint(address: str) -> Endpoint:
    """Return a server with the token and the TLS settings of the environment.

    Parameters
    ----------
    address
        ``host:port``, in place of ``CELLKIN_ADDRESS``.
    """
    keys = ("token", "tls_ca", "tls_cert", "tls_key")
    found = {key: os.environ.get(f"CELLKIN_{key.upper()}", "") for key in keys}
    return _endpoint({"address": address, **found})


def profile_file() -> Path:
    """Return the path of the file of profiles."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA")
    return (Path(home) if home else Path("~/.config").expanduser()) / "cellkin" / "client.toml"


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        profiles = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputFileError(f"{path} cannot be read ({error}); it is TOML") from error
    if not all(
        isinstance(table, dict) and all(isinstance(value, str) for value in table.values())
        for table in profiles.values()
    ):
        raise InputFileError(f"{path}: each profile is a table of strings, such as [default]")
    return profiles


def _endpoint(given: Mapping[str, str]) -> Endpoint:
    token = given.get("token") or None
    if given.get("token_file"):
        path = Path(given["token_file"]).expanduser()
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise InputFileError(f"token file {path} cannot be read ({error})") from error
    ca, cert, key = (given.get(f"tls_{name}", "") for name in ("ca", "cert", "key"))
    tls = None
    if ca or cert or key:
        files = ("" if ca == "system" else ca, cert, key)
        tls = Tls(*(Path(file).expanduser() if file else None for file in files))
    return Endpoint(given["address"], token, tls)
