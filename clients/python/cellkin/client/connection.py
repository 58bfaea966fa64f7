"""What every connection has, whichever way it waits: a channel, deadlines, patience, pins."""

import ipaddress
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc

from cellkin.client.errors import error_from_rpc
from cellkin.client.profile import Endpoint
from cellkin.client.results.versions import check_pins
from cellkin.v1 import (
    catalog_service_pb2_grpc,
    cell_service_pb2_grpc,
    gene_service_pb2_grpc,
)
from cellkin.wire.errors import (
    CellkinError,
    InternalError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)

MAX_MESSAGE_BYTES = 64 << 20
MAX_IN_FLIGHT = 4
"""Blocks sent and not yet answered: enough to keep the server busy while the next one is read."""
_OPTIONS = [
    # Clients of one program would share a connection, and of several processes on a port use one.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Of a server whose machine is gone, a stream would wait for the system's own timeout.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]
_STUBS = {
    "CatalogService": catalog_service_pb2_grpc.CatalogServiceStub,
    "CellService": cell_service_pb2_grpc.CellServiceStub,
    "GeneService": gene_service_pb2_grpc.GeneServiceStub,
}
_FIRST_DELAY_S = 0.1
_MOST_DELAY_S = 5.0


class Channel:
    """One channel to a server and the stubs of its services.

    Parameters
    ----------
    endpoint
        The server.
    library
        ``grpc``, or ``grpc.aio`` within a running event loop.

    Raises
    ------
    InputFileError
        If a file of ``endpoint.tls`` cannot be read.
    """

    def __init__(self, endpoint: Endpoint, library: Any) -> None:
        if endpoint.tls is None:
            self.channel = library.insecure_channel(endpoint.address, options=_OPTIONS)
        else:
            credentials = endpoint.tls.credentials()
            self.channel = library.secure_channel(endpoint.address, credentials, options=_OPTIONS)
        self._stubs = {name: stub(self.channel) for name, stub in _STUBS.items()}

    def method(self, name: str) -> Any:
        """Return what sends a request, by ``Service/Method``."""
        service, _, method = name.partition("/")
        return getattr(self._stubs[service], method)


@dataclass(frozen=True)
class Rules:
    """How a server is asked.

    Parameters
    ----------
    endpoint
        The server.
    timeout_s
        Seconds a single answer may take, waiting for a busy server among them; streams may take
        longer.
    attempts
        How often a request is sent in all while the server has too much to do or does not answer.
    pins
        What answers must be made from; see `Versions.require`.

    Raises
    ------
    InvalidArgumentError
        If a token would be readable on its way, a bound is out of range, or a pin is none.
    """

    endpoint: Endpoint
    timeout_s: float
    attempts: int
    pins: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.timeout_s <= 0 or self.attempts < 1:
            raise InvalidArgumentError(
                f"timeout_s {self.timeout_s:g}, attempts {self.attempts}; "
                "give more than 0 s, and at least 1"
            )
        at = self.endpoint
        if at.token and at.tls is None and not _is_this_machine(at.address):
            raise InvalidArgumentError(
                f"the token would be readable on its way to {at.address}; connect by TLS"
            )
        object.__setattr__(self, "pins", check_pins(self.pins))

    def changed(self, **changes: Any) -> "Rules":
        """Return rules with those changes that are not None."""
        return replace(self, **{what: to for what, to in changes.items() if to is not None})

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What is sent with every request."""
        token = self.endpoint.token
        return (("authorization", f"Bearer {token}"),) if token else ()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Raise the server's errors as they were raised there."""
        try:
            yield
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.endpoint.address) from None

    def ended(self) -> InternalError:
        """Return the error for a stream that ends before all is answered."""
        return InternalError(f"the server at {self.endpoint.address} ended its answer too early")


class Patience:
    """How long one request is tried for.

    Parameters
    ----------
    rules
        The bounds.
    again
        Whether it may be sent again when nobody knows whether it was done.
    """

    def __init__(self, rules: Rules, *, again: bool = True) -> None:
        self._deadline = time.monotonic() + rules.timeout_s
        self._attempts, self._again = rules.attempts, again
        self._n_tried = 0

    @property
    def left_s(self) -> float:
        """Seconds left, never none."""
        return max(self._deadline - time.monotonic(), 0.001)

    def delay_s(self, error: CellkinError) -> float:
        """Return how long to wait before asking again.

        Spread out at random, so that clients refused together do not come back together.

        Raises
        ------
        CellkinError
            The error itself where asking again is unsafe, in vain or too late.
        """
        delay_s = self._next_delay_s(error)
        self._n_tried += 1
        late = delay_s is None or time.monotonic() + delay_s >= self._deadline
        if delay_s is None or late or self._n_tried >= self._attempts:
            raise error
        return delay_s

    def _next_delay_s(self, error: CellkinError) -> float | None:
        first_s: float | None = None
        if isinstance(error, ResourceExhaustedError):
            first_s = error.retry_after_s  # it was refused, so it was not done
        elif isinstance(error, UnavailableError) and self._again:
            first_s = _FIRST_DELAY_S
        if first_s is None:
            return None
        return min(first_s * float(2**self._n_tried), _MOST_DELAY_S) * random.uniform(0.5, 1.5)


def _is_this_machine(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or address.startswith("unix:")
