"""A TCP proxy whose connections can be refused, cut, delayed or rewritten."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

_CHUNK = 1 << 16


@dataclass
class Faults:
    """What happens to connections; may be changed while they are open.

    Parameters
    ----------
    away
        Whether every connection is closed at once.
    cut_after
        Bytes after which a connection is closed, in both directions together; None for never.
    delay_s
        Seconds that each chunk waits.
    replaced
        Bytes to replace in what clients send, by as many others.
    """

    away: bool = False
    cut_after: int | None = None
    delay_s: float = 0.0
    replaced: dict[bytes, bytes] = field(default_factory=dict)

    def clear(self) -> None:
        """Let everything pass."""
        self.away, self.cut_after, self.delay_s, self.replaced = False, None, 0.0, {}


class _Connection:
    """One connection, copied in both directions by a thread each."""

    def __init__(self, client: socket.socket, port: int, faults: Faults) -> None:
        self._faults, self._n_bytes = faults, 0
        server = socket.create_connection(("127.0.0.1", port), 5)
        server.settimeout(None)
        for source, target, sent in ((client, server, True), (server, client, False)):
            threading.Thread(target=self._copy, args=(source, target, sent), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, sent: bool) -> None:
        with suppress(OSError), closing(source), closing(target):
            while chunk := source.recv(_CHUNK):
                faults = self._faults
                if faults.delay_s:
                    time.sleep(faults.delay_s)
                self._n_bytes += len(chunk)
                if faults.away or self._n_bytes > (faults.cut_after or self._n_bytes):
                    break
                for old, new in faults.replaced.items() if sent else ():
                    chunk = chunk.replace(old, new)
                target.sendall(chunk)
            for each in (source, target):  # wakes the thread of the other direction
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(port: int) -> Iterator[tuple[int, Faults]]:
    """Listen before a port of this machine; yields the proxy's port and its faults."""
    faults = Faults()
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                if faults.away:
                    client.close()
                    continue
                try:
                    _Connection(client, port, faults)
                except OSError:
                    client.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], faults
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
