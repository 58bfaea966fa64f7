"""Collect garbage beside writers, a server and other collectors, with ages forged.

    python benchmarks/chaos_gc.py [--trials 500] [--seed 1]

Of every five trials four are of a small store. In it are leftovers of interrupted runs, made to
look days old, among them content that is published again meanwhile; what versions refer to looks as
old. Files of others lie between. Writers, a thread that retracts and prunes, and two collectors
work on it at once. In the fifth a server answers while versions come, go and are collected. Counted
are versions that were acknowledged and are not whole, files of others that were touched, answers
that changed, and errors that are none of cellkin's.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

from chaos_report import report
from chaos_world import STAGES, World, answers, corpus_table

from cellkin.client import Client
from cellkin.server.process import running
from cellkin.server.settings import ServerSettings
from cellkin.store.catalog import Entry, Kind
from cellkin.store.gc import collect
from cellkin.store.maintenance import damage
from cellkin.store.prune import superseded
from cellkin.store.store import Store
from cellkin.wire.errors import CellkinError

_DAY = timedelta(hours=24)
_HOUR_S = 3600.0
_CONTENTS = 6
"""Few, so that what is published is often what an interrupted run left."""
_ROUNDS = 3
_ALLOWED = ("ABORTED", "FAILED_PRECONDITION", "NOT_FOUND")
"""Codes of errors that a writer may meet: another was first, the version is gone meanwhile."""


class Tally:
    """What was done and what went wrong."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._lock = threading.Lock()

    def done(self, what: str, n: int = 1) -> None:
        """Count something."""
        with self._lock:
            self.counts[what] += n

    def fault(self, what: str, how: str) -> None:
        """Count something that should not be, and print it."""
        self.done(what)
        print(f"{what}: {how}", flush=True)

    def guarded(self, work: Callable[[], None]) -> None:
        """Run something; an error that is none of cellkin's is a fault."""
        try:
            work()
        except CellkinError as error:
            if error.code in _ALLOWED:
                self.done(f"refused {error.code}")
            else:
                self.fault("wrong errors", f"{error.code} {error.message}")
        except Exception:  # noqa: BLE001
            self.fault("untyped errors", traceback.format_exc()[-800:])


def prune(store: Store, kind: Kind, name: str, keep: int) -> list[Entry]:
    """Remove older versions, as the command does."""
    found = superseded(store.catalog.view(), kind, name, keep, False)
    gone = [each.entry for each in found if not each.why_kept]
    store.catalog.remove(gone)
    return gone


def content(number: int) -> Callable[[Path], None]:
    """Return what writes the files of a folder."""

    def write(folder: Path) -> None:
        for name in ("a", "b"):
            (folder / name).write_bytes(random.Random(f"{number}{name}").randbytes(3000))

    return write


def age(place: Path, hours: float) -> None:
    """Let a file, or a folder and all in it, look old."""
    when = time.time() - hours * _HOUR_S
    for path in [*place.rglob("*"), place] if place.is_dir() else [place]:
        os.utime(path, (when, when), follow_symlinks=False)


def litter(store: Store, root: Path, rng: random.Random) -> None:
    """Leave what interrupted runs leave: folders, and tables of versions without a row."""
    from unittest import mock

    def killed(*_: object, **__: object) -> None:
        raise InterruptedError

    with mock.patch.object(type(store.catalog), "commit", killed):
        for number in rng.sample(range(_CONTENTS), 4):
            with _ended():
                store.publish_index(rng.choice("xy"), content(number), {})
        with _ended():
            store.publish_corpus(rng.choice(("left", "texts")), corpus_table(rng.randint(2, 9)), {})
    begun = root / "indexes" / "x" / ".partial-0123456789abcdef0123456789abcdef"
    begun.mkdir(parents=True, exist_ok=True)
    (begun / "a").write_text("begun")


class _ended:
    """Takes the end of a run that was killed."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        """Take it."""
        return kind is InterruptedError


def of_others(root: Path, beside: Path) -> dict[Path, bytes]:
    """Put files of others between those of the store, and old; return them."""
    places = (
        "indexes/hg38/star/Genome", "indexes/hg38/star/sub/SA", "indexes/.DS_Store",
        "indexes/x/.DS_Store", "indexes/x/notes/readme.txt", "notes.txt", "corpus-notes/a.txt",
        "other.lance/data/a.lance", "indexes/x/" + "0" * 63 + "/a", "backup/catalog.lance/x",
    )  # fmt: skip
    made = {}
    for place in places:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(place.encode())
        made[path] = place.encode()
    aside = beside / "linked" / ("f" * 64) / "kept"
    aside.parent.mkdir(parents=True, exist_ok=True)
    aside.write_bytes(b"kept")
    made[aside] = b"kept"
    link = root / "indexes" / "link"
    if not link.is_symlink():
        link.symlink_to(aside.parent.parent)
    return made


def small_trial(place: Path, rng: random.Random, tally: Tally) -> None:
    """Litter a store, make all look old, and let writers, pruners and collectors work at once."""
    root = place / "store"
    store = Store.create(str(root))
    entries = [store.publish_index("x", content(100 + n), {}) for n in range(2)]
    entries.append(store.publish_corpus("texts", corpus_table(4), {}))
    litter(store, root, rng)
    foreign = of_others(root, place)
    for path in [p for p in root.rglob("*") if not p.is_symlink()]:
        age(path, rng.uniform(25, 900))
    lock = threading.Lock()

    def writer(seed: int) -> None:
        mine, own = random.Random(seed), Store.open(str(root))
        for _ in range(_ROUNDS):
            if mine.random() < 0.7:
                made = own.publish_index(
                    mine.choice("xy"), content(mine.randrange(_CONTENTS)), {"by": seed}
                )
            else:
                name = mine.choice(("left", "texts"))
                made = own.publish_corpus(name, corpus_table(mine.randint(2, 9)), {"by": seed})
            with lock:
                entries.append(made)
            tally.done("versions published")

    def pruner() -> None:
        own = Store.open(str(root))
        for _ in range(_ROUNDS):
            found = prune(own, Kind.INDEX, "x", 2)
            with lock:
                gone = {entry.full_name for entry in found}
                entries[:] = [e for e in entries if e.full_name not in gone]
            removed.update(gone)

    def collector() -> None:
        own = Store.open(str(root))
        for _ in range(_ROUNDS):
            tally.done("things removed", len(collect(own, rng.choice((_DAY, _DAY / 12)))))
            tally.done("collections")

    removed: set[str] = set()
    writers = [partial(writer, rng.randrange(1 << 30)) for _ in range(2)]
    works: list[Callable[[], None]] = [*writers, pruner, collector, collector]
    threads = [threading.Thread(target=tally.guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = Store.open(str(root))
    there = {(e.kind, e.full_name): e for e in after.catalog.entries()}
    for entry in entries:
        if entry.full_name in removed:
            continue
        if (entry.kind, entry.full_name) not in there:
            tally.fault("versions lost", entry.full_name)
        elif wrong := damage(after, entry):
            tally.fault("versions damaged", f"{entry.full_name}: {wrong}")
        tally.done("versions checked")
    check_foreign(foreign, tally)


def check_foreign(foreign: dict[Path, bytes], tally: Tally) -> None:
    """Count files of others that are not as they were."""
    for path, was in foreign.items():
        if not path.is_file() or path.read_bytes() != was:
            tally.fault("files of others touched", str(path))
        tally.done("files of others checked")


class Served:
    """A server whose store is changed and collected while it answers."""

    def __init__(self, place: Path) -> None:
        self._root = place / "served"
        shutil.copytree(World(place / "world").stage(STAGES[-1]), self._root)
        self._place = place
        self._settings = ServerSettings(
            store=str(self._root), listen="127.0.0.1:0", grace_s=0.5, refresh_s=0.1
        )
        self._asked = {"labels trio@stable expression", "search trio@stable exact=True", "gene"}

    def run(self, n_trials: int, rng: random.Random, tally: Tally) -> None:
        """Run trials."""
        foreign = of_others(self._root, self._place)
        store = Store.open(str(self._root))
        with running(self._settings) as address, Client(address, attempts=1) as client:
            before = answers(client)
            for _ in range(n_trials):
                tally.done("trials")
                thread = threading.Thread(
                    target=tally.guarded, args=(lambda: self._change(store, rng, tally),)
                )
                thread.start()
                self._compare(client, before, self._asked, tally)
                thread.join()
            self._compare(client, before, self._asked, tally)
        with running(self._settings) as address, Client(address, attempts=1) as client:
            self._compare(client, before, self._asked, tally)
        for entry in store.catalog.entries():
            if wrong := damage(store, entry):
                tally.fault("versions damaged", f"{entry.full_name}: {wrong}")
        check_foreign(foreign, tally)

    def _change(self, store: Store, rng: random.Random, tally: Tally) -> None:
        litter(store, self._root, rng)
        for path in [p for p in self._root.rglob("*") if not p.is_symlink()]:
            age(path, rng.uniform(25, 900))
        made: list[Entry] = [store.publish_corpus("texts", corpus_table(5), {})]
        prune(store, Kind.CORPUS, "texts", 1)
        tally.done("versions published", len(made))
        tally.done("things removed", len(collect(store, _DAY)))
        tally.done("collections")

    def _compare(
        self, client: Client, before: dict[str, str], asked: set[str], tally: Tally
    ) -> None:
        for name, answer in answers(client, asked).items():
            tally.done("answers compared")
            if answer != before[name]:
                tally.fault("answers changed", f"{name}: {answer}")


_FAULTS = (
    "versions damaged", "versions lost", "files of others touched", "answers changed",
    "untyped errors", "wrong errors",
)  # fmt: skip


def main() -> int:
    """Run the trials and return 1 where something went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    tally, rng, began = Tally(), random.Random(arguments.seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cellkin-chaos-") as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        n_served = arguments.trials // 5
        for number in range(arguments.trials - n_served):
            place = Path(name) / f"trial-{number}"
            place.mkdir()
            tally.guarded(partial(small_trial, place, rng, tally))
            tally.done("trials")
            shutil.rmtree(place)
        if n_served:
            Served(Path(name)).run(n_served, rng, tally)
    print(f"{time.monotonic() - began:.0f} s")
    return report(tally.counts, _FAULTS, tally.counts["trials"])


if __name__ == "__main__":
    sys.exit(main())
