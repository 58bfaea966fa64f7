"""Three servers of one store in a bucket, and clients that balance among them.

One is killed, a version is switched, one is drained: no request fails.
"""

import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anndata
import pytest
from tests.integration.buckets import new_bucket, s3_server
from tests.integration.conftest import CELLKIN

from cellkin.client import Client
from cellkin.store.backup import copy_store
from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.wire.errors import CellkinError
from cellkin.wire.terms import ExpressionUnits

pytestmark = pytest.mark.integration
ENOUGH = 12
"""Answers between two events."""


class Servers:
    """Servers of one store, started together."""

    def __init__(self, uri: str, folder: Path, n: int) -> None:
        self._logs = [folder / f"log-{i}" for i in range(n)]
        command = [CELLKIN, "serve", "--store", uri, "--listen", "127.0.0.1:0", "--json-logs"]
        env = {**os.environ, "CELLKIN_SERVER__REFRESH_S": "0.2"}
        self.processes = []
        for log in self._logs:
            with log.open("w") as errors:
                process = subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env
                )
            self.processes.append(process)
        self.addresses = []
        for process, log in zip(self.processes, self._logs, strict=True):
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("serving on "), log.read_text()
            self.addresses.append(line.split()[-1])

    def end(self, i: int, how: signal.Signals) -> None:
        """End one and wait for it."""
        self.processes[i].send_signal(how)
        self.processes[i].wait(timeout=60)

    def n_answered(self, i: int) -> int:
        """Return how many requests a server that stopped had answered."""
        (found,) = re.findall(r'"n_answered": (\d+)', self._logs[i].read_text())
        return int(found)

    def close(self) -> None:
        """End all."""
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


class Asked:
    """Clients that ask the same again and again, and what they were answered."""

    def __init__(self, target: str, query: anndata.AnnData) -> None:
        self._target, self._query = target, query
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.errors: list[str] = []
        self.versions: Counter[str] = Counter()
        self.answers: set[str] = set()
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        names, counts = self._query.var_names.tolist(), self._query.X
        with Client(self._target, attempts=5, timeout_s=60) as client:
            while not self._stopping.is_set():
                try:
                    found = client.predict_subtypes(
                        "trio@stable", names, counts, units=ExpressionUnits.LINEAR
                    )
                except CellkinError as error:
                    with self._lock:
                        self.errors.append(f"{error.code}: {error.message}")
                    continue
                with self._lock:
                    self.versions[found.versions.index] += 1
                    self.answers.add(str(found.predictions.winners.tolist()))

    def more(self, version: str = "") -> None:
        """Wait for enough more answers, of a version or of any."""
        began, count = time.monotonic(), self._counting(version)
        before = count()
        while count() < before + ENOUGH:
            assert time.monotonic() - began < 120, (self.versions, self.errors)
            time.sleep(0.02)

    def _counting(self, version: str) -> Callable[[], int]:
        return lambda: self.versions[version] if version else self.versions.total()

    def stop(self) -> None:
        """Stop asking."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    with s3_server() as port:
        yield new_bucket(port, monkeypatch, tmp_path)


def test_no_request_fails_when_servers_go_and_a_version_is_switched(
    bucket: str, store_path: Path, query_path: Path, tmp_path: Path
) -> None:
    store = copy_store(str(store_path), bucket, lambda done, total: None).store
    old: Any = store.catalog.entries(Kind.INDEX, "trio")[-1]
    new = store.catalog.commit(Kind.INDEX, "trio", old.digest, old.manifest)
    store.catalog.set_alias(old, "stable")
    query = anndata.read_h5ad(query_path)[:8]
    with ExitStack() as stack:
        servers = Servers(bucket, tmp_path, 3)
        stack.callback(servers.close)
        asked = Asked("ipv4:" + ",".join(servers.addresses), query)
        stack.callback(asked.stop)
        asked.more(old.full_name)
        servers.end(0, signal.SIGKILL)
        asked.more()
        Store.open(bucket).catalog.set_alias(new, "stable")
        asked.more(new.full_name)
        servers.end(1, signal.SIGTERM)
        asked.more()
        asked.stop()
        servers.end(2, signal.SIGTERM)
        assert asked.errors == []
        assert set(asked.versions) == {old.full_name, new.full_name}
        # The same cells in both versions.
        assert len(asked.answers) == 1
        assert all(servers.n_answered(i) > 2 for i in (1, 2))
