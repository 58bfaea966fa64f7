"""Parts of a connection shared by both clients: channel, deadlines, retries, pins."""

import ipaddress
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc

from cellkin.client.results.versions import check_pins
from cellkin.client.transport.errors import error_from_rpc
from cellkin.client.transport.profile import Endpoint
from cellkin.v1 import (
    catalog_service_pb2_grpc,
    cell_service_pb2_grpc,
    gene_service_pb2_grpc,
    gene_set_service_pb2_grpc,
)
from cellkin.wire.errors import (
    InternalError,
    InvalidArgumentError,
)
from cellkin.wire.protos import service_config_path

MAX_MESSAGE_BYTES = 64 << 20
MAX_IN_FLIGHT = 4
"""Blocks sent without a response: enough to keep the server busy while the next one is read."""
_OPTIONS = [
    # Otherwise all clients of a program share one connection, and so use only one of several
    # server processes on a port.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Otherwise a stream to a dead machine waits for the timeout of the operating system.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Otherwise the pause before a server that was away is tried again grows from 1 s to 2 minutes,
    # and the others may be gone before it is noticed that it is back.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A stream whose first messages exceed this would not be retried.
    ("grpc.per_rpc_retry_buffer_size", MAX_IN_FLIGHT * MAX_MESSAGE_BYTES),
]
_STUBS = {
    "CatalogService": catalog_service_pb2_grpc.CatalogServiceStub,
    "CellService": cell_service_pb2_grpc.CellServiceStub,
    "GeneService": gene_service_pb2_grpc.GeneServiceStub,
    "GeneSetService": gene_set_service_pb2_grpc.GeneSetServiceStub,
}
_MOST_ATTEMPTS = 5
"""gRPC makes no more."""


class Channel:
    """One channel to a server and the stubs of its services.

    Parameters
    ----------
    endpoint
        The server.
    library
        ``grpc``, or ``grpc.aio`` within a running event loop.
    attempts
        Maximum number of times a request of cellkin's services is sent.

    Raises
    ------
    InputFileError
        If a file of ``endpoint.tls`` cannot be read.
    """

    def __init__(self, endpoint: Endpoint, library: Any, attempts: int = 1) -> None:
        retries = ("grpc.service_config", _service_config(attempts))
        options = [*_OPTIONS, retries if attempts > 1 else ("grpc.enable_retries", 0)]
        if endpoint.tls is None:
            self.channel = library.insecure_channel(endpoint.address, options=options)
        else:
            credentials = endpoint.tls.credentials()
            self.channel = library.secure_channel(endpoint.address, credentials, options=options)
        self._stubs = {name: stub(self.channel) for name, stub in _STUBS.items()}

    def method(self, name: str) -> Any:
        """Return the stub method for ``Service/Method``."""
        service, _, method = name.partition("/")
        return getattr(self._stubs[service], method)


@dataclass(frozen=True)
class Rules:
    """Rules for calling a server.

    Parameters
    ----------
    endpoint
        The server.
    timeout_s
        Timeout of a single request in seconds, including waits for a busy server; streams may take
        longer.
    attempts
        Maximum number of times a request is sent if the server is busy or does not respond, 1 to 5.
    pins
        Required versions of responses; see `Versions.require`.

    Raises
    ------
    InvalidArgumentError
        If a token would be sent unencrypted, an argument is out of range, or a pin is invalid.
    """

    endpoint: Endpoint
    timeout_s: float
    attempts: int
    pins: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.timeout_s <= 0 or not 1 <= self.attempts <= _MOST_ATTEMPTS:
            raise InvalidArgumentError(
                f"timeout_s {self.timeout_s:g}, attempts {self.attempts}; "
                f"give more than 0 s, and 1 to {_MOST_ATTEMPTS}"
            )
        at = self.endpoint
        if at.token and at.tls is None and not _is_this_machine(at.address):
            raise InvalidArgumentError(
                f"the token would be readable on its way to {at.address}; connect by TLS"
            )
        object.__setattr__(self, "pins", check_pins(self.pins))

    def changed(self, **changes: Any) -> "Rules":
        """Return rules with the changes that are not None."""
        return replace(self, **{what: to for what, to in changes.items() if to is not None})

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata of every request."""
        token = self.endpoint.token
        return (("authorization", f"Bearer {token}"),) if token else ()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Translate gRPC errors into the errors raised by the server."""
        try:
            yield
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.endpoint.address) from None

    def ended(self) -> InternalError:
        """Return the error for a stream that ends before all responses arrived."""
        return InternalError(f"the server at {self.endpoint.address} ended its answer too early")


def _service_config(attempts: int) -> str:
    """Return the published service config with another number of attempts."""
    config = json.loads(service_config_path().read_text())
    for method in config["methodConfig"]:
        method["retryPolicy"]["maxAttempts"] = attempts
    return json.dumps(config)


def _is_this_machine(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or address.startswith("unix:")
