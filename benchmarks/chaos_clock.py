"""Set the clock back and forth between writes; the newest version stays the one written last.

    python benchmarks/chaos_clock.py [--trials 200] [--seed 1]

Before every write the clock of the store's code is set to any time of two years around now. Then
versions are published, aliased, retracted and collected. No version may be named twice, a name has
to mean what was published last and is not retracted, and no content in use may be collected.
"""

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, tzinfo
from typing import Any
from unittest import mock

from chaos_gc import content
from chaos_report import report

from cellkin.store import catalog, gc, journal
from cellkin.store.catalog import Kind
from cellkin.store.maintenance import damage
from cellkin.store.store import Store
from cellkin.wire.names import VersionName

_FAULTS = (
    "names given twice", "latest is not the last", "aliases lost", "retractions lost",
    "versions damaged", "problems of the catalog",
)  # fmt: skip
_NAMES = "xyz"
_RANGE_H = 24 * 365


@contextmanager
def clock_set(by: timedelta) -> Iterator[None]:
    """Let the store's code read a clock that is set forward or back."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + by

    with ExitStack() as stack:
        for module in (catalog, journal, gc):
            stack.enter_context(mock.patch.object(module, "datetime", Shifted))
        yield


def trial(
    store: Store, written: dict[str, list[str]], rng: random.Random, seen: Counter[str]
) -> None:
    """Write under another clock, and compare with what was written before."""
    name = rng.choice(_NAMES)
    entry = store.publish_index(name, content(rng.randrange(10**6)), {})
    seen["names given twice"] += entry.version in written[name]
    written[name].append(entry.version)
    store.catalog.set_alias(entry, "stable")
    if rng.random() < 0.3:
        wrong = store.publish_index(name, content(rng.randrange(10**6)), {})
        seen["names given twice"] += wrong.version in written[name]
        store.catalog.retract(wrong, "wrong")
        seen["retractions lost"] += store.catalog.view().retraction(wrong) is None
    if rng.random() < 0.2:
        seen["things collected"] += len(gc.collect(store, gc.LEAST_AGE))
    for each in _NAMES:
        if written[each]:
            means = store.catalog.resolve(Kind.INDEX, VersionName(each)).version
            seen["latest is not the last"] += means != written[each][-1]
            alias = store.catalog.resolve(Kind.INDEX, VersionName(each, "stable")).version
            seen["aliases lost"] += alias != written[each][-1]


def main() -> int:
    """Run the trials and return 1 where something went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng, seen = random.Random(arguments.seed), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="cellkin-chaos-") as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        store = Store.create(f"{name}/store")
        written: dict[str, list[str]] = {each: [] for each in _NAMES}
        for _ in range(arguments.trials):
            by = timedelta(hours=rng.uniform(-_RANGE_H, _RANGE_H))
            seen["clocks set back" if by < timedelta(0) else "clocks set forward"] += 1
            with clock_set(by):
                trial(store, written, rng, seen)
        seen["problems of the catalog"] = len(Store.open(store.uri).catalog.problems())
        seen["versions damaged"] = sum(bool(damage(store, e)) for e in store.catalog.entries())
    return report(seen, _FAULTS, arguments.trials)


if __name__ == "__main__":
    sys.exit(main())
