"""Waiting until a process is told to stop."""

import signal
import socket
from contextlib import suppress
from typing import Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """A request to stop, made by SIGTERM, SIGINT or another thread; for a ``with`` block.

    Enter it in the main thread. Python runs handlers in that thread only, once it executes
    bytecode again; so a signal that arrives as it begins to wait for a lock, or that the kernel
    delivers to another thread, would stop nothing. The C handler of each signal therefore writes
    to a socket, and `wait` reads that.
    """

    def __init__(self) -> None:
        self._received, self._sent = socket.socketpair()
        self._sent.setblocking(False)  # as `signal.set_wakeup_fd` requires

    def __enter__(self) -> Self:
        """Take the signals over."""
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)  # else Python installs no C handler
        signal.set_wakeup_fd(self._sent.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        """Ignore further signals, as the process is about to end."""
        signal.set_wakeup_fd(-1)
        self._sent.close()
        self._received.close()

    def set(self) -> None:
        """Request the stop, from any thread."""
        with suppress(OSError):  # closed, so the process stops already
            self._sent.send(bytes([signal.SIGTERM]))

    def wait(self) -> None:
        """Return once the process was told to stop, at once if it was before."""
        while self._received.recv(1)[0] not in _SIGNALS:
            pass
