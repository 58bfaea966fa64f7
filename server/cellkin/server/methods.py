"""RPC methods as the interceptor calls them, from bytes to bytes.

A unary method of a service is a function of one message. A streaming method returns a generator,
which is sent each message, yields its response (None for no response), and is sent None at the end.
Methods served on the event loop are asynchronous, as in gRPC's asynchronous services.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from cellkin.server.executors import BoundedExecutor, ClientLimiter
from cellkin.server.metrics import Metrics
from cellkin.wire.errors import InvalidArgumentError


@dataclass(frozen=True, eq=False)
class Method:
    """One RPC method.

    Parameters
    ----------
    name
        ``/package.Service/Method``.
    behavior
        The service's implementation.
    parse, serialize
        Convert bytes to a request, and a response to bytes.
    takes_stream, gives_stream
        Whether requests and responses are streams.
    places
        Limits on open requests.
    executor
        The threads it runs on; None for the event loop.
    role
        Role that a client needs; empty for none.
    lasts
        Whether a request may stay open without limit.
    """

    name: str
    behavior: Callable[..., Any]
    parse: Callable[[bytes], Any]
    serialize: Callable[[Any], bytes]
    takes_stream: bool
    gives_stream: bool
    places: ClientLimiter
    executor: BoundedExecutor | None
    role: str
    lasts: bool = False

    def parsed(self, message: bytes) -> Any:
        """Parse a message.

        Raises
        ------
        InvalidArgumentError
            If the bytes are not a valid message.
        """
        try:
            return self.parse(message)
        except DecodeError as error:
            raise InvalidArgumentError(
                f"a message of {len(message)} bytes is no request of {self.name}; "
                "use the stubs of this server's protos"
            ) from error

    def reply(self, message: bytes) -> bytes:
        """Answer a unary request."""
        return self.serialize(self.behavior(self.parsed(message), None))

    def begin(self) -> Any:
        """Start a stream; return the generator that `say` and `end` take."""
        talk = self.behavior(None, None)
        next(talk)
        return talk

    def say(self, talk: Any, message: bytes, metrics: Metrics) -> bytes | None:
        """Answer a message of a stream; return None if it has no response."""
        answer = talk.send(self.parsed(message))
        if answer is None:
            return None
        metrics.message_answered(self.name)
        return self.serialize(answer)

    @staticmethod
    def end(talk: Any) -> None:
        """Tell the generator of a stream that no more messages follow."""
        with suppress(StopIteration):
            talk.send(None)


class Handlers:
    """Collects the handlers that services register, in place of a server."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Do nothing: the other method gets the same handlers with their names."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """Add the handlers of a service."""
        self.found |= {f"/{service}/{name}": handler for name, handler in handlers.items()}
