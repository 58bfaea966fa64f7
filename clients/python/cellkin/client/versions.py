"""Versions that answers are made from."""

from dataclasses import dataclass

from cellkin.v1 import versions_pb2


@dataclass(frozen=True)
class Versions:
    """What an answer was made from, aliases resolved."""

    index: str
    space_digest: str
    embedding: str
    corpus: str
    server: str

    @classmethod
    def from_message(cls, message: versions_pb2.Versions) -> "Versions":
        """Read them from the wire."""
        return cls(
            message.index, message.space_digest, message.embedding, message.corpus, message.server
        )
