"""The methods a server has, as the edge calls them: bytes in, bytes out.

Services are plain functions of one message. A stream of theirs is a generator: it is sent each
message, yields the answer to it (None where there is none), and is sent None when no more come.
What is served on the event loop itself is asynchronous, as in gRPC's own asynchronous services.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from cellkin.server.lanes import Lane, Places
from cellkin.server.metrics import Metrics
from cellkin.wire.errors import InvalidArgumentError


@dataclass(frozen=True, eq=False)
class Method:
    """One method.

    Parameters
    ----------
    name
        ``/package.Service/Method``.
    behavior
        The function of the service.
    parse, serialize
        Between bytes and messages.
    takes_stream, gives_stream
        Whether it takes and gives any number of messages.
    places
        Where its requests are counted.
    lane
        The threads it runs on; None for the event loop.
    role
        What who asks must be allowed; empty where anybody may ask.
    lasts
        Whether a request of it may be open for ever.
    """

    name: str
    behavior: Callable[..., Any]
    parse: Callable[[bytes], Any]
    serialize: Callable[[Any], bytes]
    takes_stream: bool
    gives_stream: bool
    places: Places
    lane: Lane | None
    role: str
    lasts: bool = False

    def parsed(self, message: bytes) -> Any:
        """Return a message as the service takes it.

        Raises
        ------
        InvalidArgumentError
            If the bytes are no such message.
        """
        try:
            return self.parse(message)
        except DecodeError as error:
            raise InvalidArgumentError(
                f"a message of {len(message)} bytes is no request of {self.name}; "
                "use the stubs of this server's protos"
            ) from error

    def reply(self, message: bytes) -> bytes:
        """Answer the only message of a request."""
        return self.serialize(self.behavior(self.parsed(message), None))

    def begin(self) -> Any:
        """Begin a stream; return what `say` and `end` take."""
        talk = self.behavior(None, None)
        next(talk)
        return talk

    def say(self, talk: Any, message: bytes, metrics: Metrics) -> bytes | None:
        """Answer a message of a stream; return None where there is no answer to it."""
        answer = talk.send(self.parsed(message))
        if answer is None:
            return None
        metrics.message_answered(self.name)
        return self.serialize(answer)

    @staticmethod
    def end(talk: Any) -> None:
        """Say that no more messages come."""
        with suppress(StopIteration):
            talk.send(None)


class Handlers:
    """Takes the handlers of services, in place of a server."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Do nothing: the same come by the other method, with their names."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Take the handlers of a service."""
        self.found |= {f"/{service}/{name}": handler for name, handler in handlers.items()}
