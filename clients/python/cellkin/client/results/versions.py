"""Versions that responses are made from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from cellkin.client.results.tables import Shown
from cellkin.v1 import versions_pb2
from cellkin.wire.errors import InvalidArgumentError, VersionMismatchError
from cellkin.wire.names import VersionName


@dataclass(frozen=True, repr=False)
class Versions(Shown):
    """Versions a response was made from, with aliases resolved; empty for kinds not used.

    Parameters
    ----------
    index
        The cell index, ``NAME@DATE.N``.
    space_digest
        SHA-256 of the index's text space, hexadecimal.
    embedding
        The gene embedding, ``MODEL@DATE.N``.
    corpus
        The gene texts, ``NAME@DATE.N``.
    server
        The server's cellkin release.
    """

    index: str = ""
    space_digest: str = ""
    embedding: str = ""
    corpus: str = ""
    server: str = ""

    @classmethod
    def from_message(cls, message: versions_pb2.Versions) -> "Versions":
        """Read the versions from a message."""
        return cls(
            message.index, message.space_digest, message.embedding, message.corpus, message.server
        )

    def require(self, pins: Mapping[str, str]) -> None:
        """Raise if the response was not made from the pinned versions.

        Parameters
        ----------
        pins
            Names of fields and their required values; fields that are empty in the response pass.

        Raises
        ------
        VersionMismatchError
            If a version differs; the metadata has both.
        """
        answered = asdict(self)
        for kind, pinned in pins.items():
            if answered[kind] and answered[kind] != pinned:
                raise VersionMismatchError(
                    f"the server answered from {kind} {answered[kind]}, and {pinned} is pinned; "
                    f"ask for {pinned} by its full name, or pin what is to be used now",
                    {"kind": kind, "pinned": pinned, "answered": answered[kind]},
                )


PINNED = tuple(field.name for field in fields(Versions) if field.name != "server")
"""Fields that can be pinned; the server's release may change, data may not."""


def check_pins(pins: Mapping[str, str]) -> dict[str, str]:
    """Return validated pins.

    Raises
    ------
    InvalidArgumentError
        If a key is not in `PINNED`, or a name is not an exact version.
    """
    for kind, name in pins.items():
        if kind not in PINNED:
            raise InvalidArgumentError(f"pin {kind!r} is none; give any of {', '.join(PINNED)}")
        if kind != "space_digest" and not is_exact(name):
            raise InvalidArgumentError(
                f"pin {kind} {name!r} may come to mean another version; give NAME@DATE.N"
            )
    return dict(pins)


def is_exact(name: str) -> bool:
    """Return whether a name means exactly one version, ``NAME@DATE.N``."""
    name, _, selector = name.partition("@")
    return bool(name) and VersionName(name, selector).is_version


def exactly(**names: str) -> dict[str, str]:
    """Return the names of exact versions, as pins for the response."""
    return {kind: name for kind, name in names.items() if is_exact(name)}
