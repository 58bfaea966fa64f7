"""Eight processes write to one store at once, beside collectors, aliases and retractions.

    python benchmarks/chaos_writers.py [--seconds 180] [--writers 8]

Every writer publishes indexes and corpora, moves aliases, retracts and takes retractions back, and
collects garbage with its default age, at random. Each notes what the store acknowledged. In the end
the store has to have all of it: no version lost, doubled, changed or damaged, the aliases and
retractions that were set, and no errors but those of cellkin.
"""

import argparse
import collections
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from chaos_gc import content
from chaos_report import report
from chaos_world import corpus_table

from cellkin.store.catalog import Entry, Kind
from cellkin.store.gc import LEAST_AGE, collect
from cellkin.store.maintenance import damage
from cellkin.store.store import Store
from cellkin.wire.errors import CellkinError

_NAMES = ("x", "y", "z")
_ALIASES = ("stable", "next")
_FAULTS = (
    "versions lost", "versions twice", "versions changed", "versions damaged",
    "retractions not as acknowledged", "aliases of no one", "problems of the catalog",
    "untyped errors", "writers that died",
)  # fmt: skip


def write(uri: str, seed: int, seconds: float) -> None:
    """Work on a store; print what was acknowledged, a line of JSON each."""
    rng, store, ends = random.Random(seed), Store.open(uri), time.monotonic() + seconds
    while time.monotonic() < ends:
        what = rng.choices(
            ("index", "corpus", "alias", "retract", "unretract", "gc"), (8, 4, 6, 2, 1, 2)
        )[0]
        told: dict[str, Any] = {"what": what, "began": time.time()}
        try:
            told |= _once(store, what, rng)
        except CellkinError as error:
            told |= {"what": f"{what} refused", "code": error.code}
        except Exception:  # noqa: BLE001
            told |= {"what": "untyped errors", "text": traceback.format_exc()[-700:]}
        print(json.dumps({**told, "ended": time.time()}), flush=True)


def _once(store: Store, what: str, rng: random.Random) -> dict[str, Any]:
    name = rng.choice(_NAMES)
    if what == "index":
        return _named(store.publish_index(name, content(rng.randrange(10**9)), {}))
    if what == "corpus":
        return _named(store.publish_corpus(name, corpus_table(rng.randint(2, 6)), {}))
    if what == "gc":
        return {"n": len(collect(store, LEAST_AGE * 24))}
    view = store.catalog.view()
    entry = rng.choice(view.entries(Kind.INDEX))
    if what == "alias":
        alias = rng.choice(_ALIASES)
        store.catalog.set_alias(entry, alias)
        return {**_named(entry), "alias": alias}
    if what == "retract":
        store.catalog.retract(entry, f"by {os.getpid()}", force=True)
    else:
        store.catalog.unretract(entry)
    return _named(entry)


def _named(entry: Entry) -> dict[str, Any]:
    key = [str(entry.kind), entry.name, entry.version]
    return {"key": key, "digest": entry.digest}


def check(store: Store, told: list[dict[str, Any]]) -> collections.Counter[str]:
    """Compare a store with what it acknowledged."""
    counts: collections.Counter[str] = collections.Counter(line["what"] for line in told)
    for line in told:
        if line["what"] == "untyped errors":
            print(line["text"])
    view = store.catalog.view()
    there = {(str(e.kind), e.name, e.version): e for e in view.all_entries}
    counts["versions there"] = len(there)
    made = [line for line in told if line["what"] in ("index", "corpus")]
    keys = collections.Counter(tuple(line["key"]) for line in made)
    counts["versions twice"] = sum(n - 1 for n in keys.values())
    for line in made:
        entry = there.get(tuple(line["key"]))
        counts["versions lost"] += entry is None
        counts["versions changed"] += entry is not None and entry.digest != line["digest"]
    for entry in view.all_entries:
        if wrong := damage(store, entry):
            counts["versions damaged"] += 1
            print(f"{entry.full_name}: {wrong}")
    marks = [line for line in told if line["what"] in ("retract", "unretract")]
    for key, entry in there.items():
        of_it = [line for line in marks if tuple(line["key"]) == key]
        # Of several at once any may have been the last.
        latest = max((line["began"] for line in of_it), default=0.0)
        last = {line["what"] for line in of_it if line["ended"] >= latest}
        is_retracted = view.retraction(entry) is not None
        allowed = {what == "retract" for what in last} or {False}
        counts["retractions not as acknowledged"] += is_retracted not in allowed
    for (kind, name, alias), version in view.aliases.items():
        set_by = [line for line in told if line["what"] == "alias" and line["alias"] == alias
                  and line["key"][:2] == [str(kind), name]]  # fmt: skip
        latest = max((line["began"] for line in set_by), default=0.0)
        last = {line["key"][2] for line in set_by if line["ended"] >= latest}
        counts["aliases of no one"] += version not in last
    problems = store.catalog.problems()
    print("\n".join(problems), end="\n" if problems else "")
    counts["problems of the catalog"] = len(problems)
    return counts


def main() -> int:
    """Run the writers, check what they leave and return 1 where something went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--writers", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cellkin-chaos-") as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        uri = f"{name}/store"
        first = Store.create(uri).publish_index(_NAMES[0], content(0), {})
        command = [sys.executable, __file__, "--writer", uri]
        writers = [
            subprocess.Popen(
                [*command, str(seed), str(arguments.seconds)], stdout=subprocess.PIPE, text=True
            )
            for seed in range(arguments.writers)
        ]
        told = [{"what": "index", "began": 0.0, "ended": 0.0, **_named(first)}]
        for writer in writers:
            lines, _ = writer.communicate()
            told += [json.loads(line) for line in lines.splitlines()]
        counts = check(Store.open(uri), told)
        counts["writers that died"] = sum(writer.returncode != 0 for writer in writers)
        refused = collections.Counter(line["code"] for line in told if "code" in line)
        counts.update({f"refused {code}": n for code, n in refused.items()})
        counts["files of the store"] = sum(path.is_file() for path in Path(uri).rglob("*"))
    return report(counts, _FAULTS, len(told))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--writer"]:
        write(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    else:
        sys.exit(main())
