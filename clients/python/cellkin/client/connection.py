"""A connection: encrypted, with a token, with deadlines, and patient with a busy server."""

import ipaddress
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc

from cellkin.client.errors import error_from_rpc
from cellkin.wire.errors import (
    CellkinError,
    InputFileError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)

MAX_MESSAGE_BYTES = 64 << 20
_FIRST_DELAY_S = 0.1
_MOST_DELAY_S = 5.0

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Tls:
    """How a connection is encrypted.

    Parameters
    ----------
    ca
        PEM file of the authorities that may vouch for the server; None for those of the system.
    cert, key
        PEM files of the client's own certificate and key, where the server asks for them.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Raises
        ------
        InputFileError
            If one cannot be read.
        InvalidArgumentError
            If a certificate is given without its key, or a key alone.
        """
        if (self.cert is None) != (self.key is None):
            raise InvalidArgumentError("a client's certificate goes with its key; give both")
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.cert))


class Connection:
    """One channel to a server, and the rules by which it is asked.

    Parameters
    ----------
    server
        ``host:port``.
    token
        Sent with every request; only over TLS, or to this machine.
    tls
        How the connection is encrypted; None for not at all.
    timeout_s
        Seconds a single answer may take, waiting for a busy server among them; streams may take
        longer.
    attempts
        How often a request is sent in all while the server has too much to do or does not answer.

    Raises
    ------
    InvalidArgumentError
        If a token would be readable on its way, or a bound is out of range.
    InputFileError
        If a file of ``tls`` cannot be read.
    """

    def __init__(
        self, server: str, token: str | None, tls: Tls | None, timeout_s: float, attempts: int
    ) -> None:
        if timeout_s <= 0 or attempts < 1:
            raise InvalidArgumentError(
                f"timeout_s {timeout_s:g}, attempts {attempts}; give more than 0 s, and at least 1"
            )
        if token and tls is None and not _is_this_machine(server):
            raise InvalidArgumentError(
                f"the token would be readable on its way to {server}; connect by TLS"
            )
        self.server = server
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._timeout_s, self._attempts = timeout_s, attempts
        options = [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # Of a server whose machine is gone, a stream would wait for the system's own timeout.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 20_000),
        ]
        if tls is None:
            self.channel = grpc.insecure_channel(server, options)
        else:
            self.channel = grpc.secure_channel(server, tls.credentials(), options)

    def close(self) -> None:
        """Close the channel."""
        self.channel.close()

    def ask(self, method: Any, request: Any) -> Any:
        """Send one request and return its answer.

        Parameters
        ----------
        method
            Of a stub.
        request
            Its message.

        Raises
        ------
        CellkinError
            What the server answered with; `UnavailableError` where it does not answer.
        """
        deadline = time.monotonic() + self._timeout_s

        def once() -> Any:
            left_s = max(deadline - time.monotonic(), 0.001)
            return method(request, timeout=left_s, metadata=self._metadata)

        return self._patiently(once, deadline)

    def open(self, method: Any, requests: Callable[[], Iterator[Any]]) -> tuple[Any, Any]:
        """Open a stream and wait for its first answer.

        Parameters
        ----------
        method
            Of a stub.
        requests
            Makes the messages to send, anew for every attempt.

        Returns
        -------
        first, answers
            The first answer, and the call that has the others.
        """

        def once() -> tuple[Any, Any]:
            answers = method(requests(), metadata=self._metadata)
            try:
                return next(answers), answers
            except BaseException:
                answers.cancel()
                raise

        return self._patiently(once, time.monotonic() + self._timeout_s)

    def told(self, call: Callable[[], Answer]) -> Answer:
        """Return what a call returns, with the server's errors as they were raised there."""
        try:
            return call()
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.server) from None

    def _patiently(self, once: Callable[[], Answer], deadline: float) -> Answer:
        for attempt in range(self._attempts):
            try:
                return self.told(once)
            except (ResourceExhaustedError, UnavailableError) as error:
                delay_s = _delay_s(error, attempt)
                late = delay_s is None or time.monotonic() + delay_s >= deadline
                if late or attempt == self._attempts - 1:
                    raise
                assert delay_s is not None  # `late` otherwise
                time.sleep(delay_s)
        raise AssertionError("unreachable: the last attempt returns or raises")


def _delay_s(error: CellkinError, attempt: int) -> float | None:
    """Return how long to wait before asking again, None where that is in vain.

    Spread out at random, so that clients refused together do not come back together.
    """
    first_s = _FIRST_DELAY_S
    if isinstance(error, ResourceExhaustedError):
        if error.retry_after_s is None:
            return None
        first_s = error.retry_after_s
    return min(first_s * float(2**attempt), _MOST_DELAY_S) * random.uniform(0.5, 1.5)


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise InputFileError(f"TLS file {path} cannot be read: {error.strerror}") from error


def _is_this_machine(server: str) -> bool:
    host = server.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or server.startswith("unix:")
