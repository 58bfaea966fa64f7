"""Versions that answers are made from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from cellkin.v1 import versions_pb2
from cellkin.wire.errors import InvalidArgumentError, VersionMismatchError
from cellkin.wire.names import VersionName


@dataclass(frozen=True)
class Versions:
    """What an answer was made from, aliases resolved; empty where nothing of the kind was used.

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
        The cellkin release that answered.
    """

    index: str = ""
    space_digest: str = ""
    embedding: str = ""
    corpus: str = ""
    server: str = ""

    @classmethod
    def from_message(cls, message: versions_pb2.Versions) -> "Versions":
        """Read them from the wire."""
        return cls(
            message.index, message.space_digest, message.embedding, message.corpus, message.server
        )

    def require(self, pins: Mapping[str, str]) -> None:
        """Refuse an answer that was made from anything else than what is pinned.

        Parameters
        ----------
        pins
            Names of fields and what each must be, where the answer has it at all.

        Raises
        ------
        VersionMismatchError
            If one is of another version; the metadata has both.
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
"""What may be pinned; releases of the server may change, data may not."""


def check_pins(pins: Mapping[str, str]) -> dict[str, str]:
    """Return pins as they are kept.

    Raises
    ------
    InvalidArgumentError
        If a key is none of `PINNED`, or a name may come to mean another version.
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
    """Tell whether a name is of exactly one version, ``NAME@DATE.N``."""
    name, _, selector = name.partition("@")
    return bool(name) and VersionName(name, selector).is_version


def exactly(**names: str) -> dict[str, str]:
    """Return those names that are of exactly one version: the answer must be of it, too."""
    return {kind: name for kind, name in names.items() if is_exact(name)}
