"""Back a store up while others write to it, prune it and collect its garbage.

    python benchmarks/chaos_backup.py [--copies 30] [--writers 3]

Writers publish versions and move an alias; another thread prunes and collects what is left.
Meanwhile the store is copied again and again, into one place and each fifth time into a new one.
Each copy must be whole, must be of a moment that the store was at, and must have what was
acknowledged before the copy began and not pruned since.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from chaos_report import report
from chaos_world import corpus_table

from cellkin.store.backup import copy_store
from cellkin.store.catalog import Kind
from cellkin.store.gc import collect
from cellkin.store.maintenance import damage
from cellkin.store.prune import superseded
from cellkin.store.store import Store
from cellkin.wire.errors import CellkinError, ConflictError

_NAMES = "xyz"
_PAUSE_S = 0.05
_AGE = timedelta(seconds=3)
"""So short that copies meet removals."""


_FAULTS = (
    "versions damaged", "versions missing", "catalogs with problems", "aliases of nothing",
)  # fmt: skip


class Writers:
    """Threads that change a store until they are told to stop."""

    def __init__(self, uri: str, n_writers: int) -> None:
        self._uri = uri
        self.stop = threading.Event()
        self.counts: Counter[str] = Counter()
        self.acknowledged: set[str] = set()
        works = [*[self._write] * n_writers, self._remove]
        self._threads = [
            threading.Thread(target=self._run, args=(w, i)) for i, w in enumerate(works)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """End."""
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, work: object, seed: int) -> None:
        store, rng = Store.open(self._uri), random.Random(seed)
        while not self.stop.wait(_PAUSE_S):
            try:
                work(store, rng)  # type: ignore[operator]
            except CellkinError as error:
                self.counts[f"refused {error.code}"] += 1

    def _write(self, store: Store, rng: random.Random) -> None:
        if rng.random() < 0.3:
            entry = store.publish_corpus("genes", corpus_table(rng.randint(2, 40)), {})
        else:
            text = rng.randbytes(rng.randint(1, 200_000))
            entry = store.publish_index(
                rng.choice(_NAMES), lambda folder: (folder / "a").write_bytes(text) and None, {}
            )
            store.catalog.set_alias(entry, "stable")
        self.acknowledged.add(f"{entry.kind}/{entry.full_name}")
        self.counts["published"] += 1

    def _remove(self, store: Store, rng: random.Random) -> None:
        name = rng.choice(_NAMES)
        found = superseded(store.catalog.view(), Kind.INDEX, name, 5, False)
        store.catalog.remove([each.entry for each in found if not each.why_kept])
        self.counts["pruned"] += sum(not each.why_kept for each in found)
        self.counts["collected"] += len(collect(store, _AGE, force=True))


def main() -> int:
    """Run the trials and return 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=30)
    parser.add_argument("--writers", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        uri = str(Path(scratch) / "store")
        store = Store.create(uri)
        writers, counts = Writers(uri, arguments.writers), Counter[str]()
        writers.start()
        start_s = time.monotonic()
        try:
            for number in range(arguments.copies):
                place = Path(scratch) / (f"new-{number}" if number % 5 == 4 else "copy")
                _copy(store, place, writers, counts)
        finally:
            writers.join()
        print(f"{time.monotonic() - start_s:.0f} s")
        return report(writers.counts + counts, _FAULTS, arguments.copies)


def _copy(store: Store, place: Path, writers: Writers, counts: Counter[str]) -> None:
    before = set(writers.acknowledged)
    try:
        copied = copy_store(store.uri, str(place), lambda done, total: None)
    except ConflictError:
        counts["copies that met a removal"] += 1
        return
    view, now = Store.open(str(place)).catalog.view(), store.catalog.view()
    counts["copies"] += 1
    counts["files copied"] += copied.n_files
    counts["files that were there"] += copied.n_files_before
    counts["versions compared"] += len(view.all_entries)
    counts["versions damaged"] += sum(bool(damage(copied.store, e)) for e in view.all_entries)
    counts["catalogs with problems"] += bool(copied.store.catalog.problems())
    there = {f"{e.kind}/{e.full_name}" for e in view.all_entries}
    pruned = {f"{r.entry.kind}/{r.entry.full_name}" for r in [*view.removed, *now.removed]}
    counts["versions missing"] += len(before - there - pruned)
    aliased = {f"{kind}/{name}@{version}" for (kind, name, _), version in view.aliases.items()}
    counts["aliases of nothing"] += len(aliased - there)


if __name__ == "__main__":
    sys.exit(main())
