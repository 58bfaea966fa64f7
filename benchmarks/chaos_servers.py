"""Kill servers under load; clients that know two of them see no error.

    python benchmarks/chaos_servers.py [--trials 20] [--clients 4] [--seed 1]

Two servers of one store have addresses that every client knows. Again and again one of them is
killed by SIGKILL while clients ask, and started again; the other answers. The next is killed once
clients had the time to connect to it. Every answer has to be the one that an undisturbed client
gets.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from chaos_mixed import serving
from chaos_report import report
from chaos_world import STAGES, World, answers

from cellkin.client import Client

_FAULTS = ("answers that differ", "errors", "untyped errors")
_ASKED = ("labels trio@stable expression", "search trio@stable exact=True", "gene", "indexes")
_UP_S = 1.5, 2.5
"""Time in which both serve between two kills; a client connects again within 1.2 s."""


def free_ports(n: int) -> list[int]:
    """Return ports of this machine that nobody uses."""
    with ExitStack() as stack:
        made = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(n)]
        return [each.getsockname()[1] for each in made]


class Load:
    """Clients that ask until told to stop."""

    def __init__(self, target: str, right: dict[str, str]) -> None:
        self._target, self._right = target, right
        self._lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.stopping = threading.Event()

    def ask(self, seed: int) -> None:
        """Ask at random."""
        rng = random.Random(seed)
        try:
            with Client(self._target, attempts=5, timeout_s=60) as client:
                while not self.stopping.is_set():
                    asked = rng.choice(_ASKED)
                    self._judge(asked, answers(client, [asked])[asked])
        except Exception as error:  # noqa: BLE001
            self._count("untyped errors", repr(error))

    def _judge(self, asked: str, answer: str) -> None:
        if answer == self._right[asked]:
            self._count("answered")
        else:
            what = "errors" if answer.startswith("refused") else "answers that differ"
            self._count(what, f"{asked}: {answer}")

    def _count(self, what: str, said: str = "") -> None:
        with self._lock:
            self.seen[what] += 1
        if said:
            print(f"{what}: {said}", flush=True)


def main() -> int:
    """Run the trials and return 1 where something went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="cellkin-chaos-") as name, ExitStack() as stack:
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        root = Path(name) / "store"
        shutil.copytree(World(Path(name) / "world").stage(STAGES[-1]), root)
        ports = free_ports(2)

        def start(port: int) -> "subprocess.Popen[str]":
            log = Path(name) / f"log-{port}.err"
            return stack.enter_context(serving(root, log, f"127.0.0.1:{port}"))[1]

        processes = {port: start(port) for port in ports}
        with Client(f"127.0.0.1:{ports[0]}") as client:
            right = answers(client, _ASKED)
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        load = Load(target, right)
        threads = [
            threading.Thread(target=load.ask, args=(seed,)) for seed in range(arguments.clients)
        ]
        for thread in threads:
            thread.start()
        for _ in range(arguments.trials):
            load.stopping.wait(rng.uniform(*_UP_S))
            port = rng.choice(ports)
            processes[port].send_signal(signal.SIGKILL)
            processes[port].wait()
            processes[port] = start(port)
        load.stopping.set()
        for thread in threads:
            thread.join()
    return report(load.seen, _FAULTS, arguments.trials)


if __name__ == "__main__":
    sys.exit(main())
