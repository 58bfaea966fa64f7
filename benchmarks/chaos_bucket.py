"""Publish into a bucket that is away, cuts connections, or loses the condition of a PUT.

    python benchmarks/chaos_bucket.py [--trials 60] [--seed 1]

A server of the S3 protocol runs on this machine, a proxy before it. In a third of the trials each
the bucket is away for a moment while a version is published, cuts every connection after some
bytes, or ignores the condition by which one of two writers fails. What was acknowledged has to be
there and whole afterwards, what was refused has a typed error, and a bucket without conditions is
refused before anything is written.
"""

import argparse
import http.client
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from chaos_gc import content
from chaos_proxy import Faults, proxy
from chaos_report import report
from chaos_world import corpus_table

from cellkin.store.catalog import Entry, Kind
from cellkin.store.maintenance import damage
from cellkin.store.store import Store
from cellkin.wire.errors import CellkinError, FailedPreconditionError

_FAULTS = (
    "versions lost", "versions damaged", "aliases lost", "problems of the catalog",
    "written without conditions", "untyped errors",
)  # fmt: skip
_MODES = ("away", "cut", "no conditions")
_CONDITION = {
    name: b"x" + name[1:] for name in (b"if-none-match", b"If-None-Match", b"IF-NONE-MATCH")
}


@contextmanager
def s3_server() -> Iterator[int]:
    """Run an S3 server in a process of its own; yields its port."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        lines = iter(process.stderr.readline, "")
        found = next(filter(None, (re.search(r"http://127\.0\.0\.1:(\d+)", li) for li in lines)))
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield int(found[1])
    finally:
        process.terminate()
        process.wait(timeout=20)


def use_bucket(port: int, name: str) -> str:
    """Make a bucket and point the environment at it; return the URI of a store in it."""
    address = f"http://127.0.0.1:{port}"
    os.environ |= {
        "AWS_ENDPOINT": address, "AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1",
    }  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("PUT", f"/{name}")
    if connection.getresponse().status != 200:
        raise RuntimeError("the S3 server made no bucket")
    connection.close()
    return f"s3://{name}/store"


def trial(uri: str, mode: str, faults: Faults, rng: random.Random) -> tuple[str, list[Entry]]:
    """Write while the bucket has a fault; return how it ended, and what was acknowledged."""
    made: list[Entry] = []
    done = threading.Event()

    def disturb() -> None:
        if mode == "no conditions":
            faults.replaced = _CONDITION
            return
        done.wait(rng.uniform(0, 0.3))
        faults.away = mode == "away"
        faults.cut_after = rng.randrange(200, 20_000) if mode == "cut" else None
        done.wait(rng.uniform(0.1, 1.0))
        faults.clear()

    thread = threading.Thread(target=disturb)
    thread.start()
    if mode == "no conditions":
        thread.join()
    try:
        store = Store.open(uri)
        made.append(store.publish_index("x", content(rng.randrange(10**9)), {}))
        store.catalog.set_alias(made[0], "stable")
        made.append(store.publish_corpus("genes", corpus_table(rng.randint(2, 9)), {}))
    except FailedPreconditionError:
        return "refused for its conditions", made
    except CellkinError as error:
        return f"refused {error.code}", made
    except Exception:  # noqa: BLE001
        print(traceback.format_exc()[-1500:], flush=True)
        return "untyped errors", made
    else:
        return "written", made
    finally:
        done.set()
        thread.join()
        faults.clear()


def main() -> int:
    """Run the trials and return 1 where something went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng, seen, told = random.Random(arguments.seed), Counter[str](), list[Entry]()
    with (
        tempfile.TemporaryDirectory(prefix="cellkin-chaos-") as name,
        s3_server() as behind,
        proxy(behind) as (port, faults),
    ):
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        uri = use_bucket(port, "chaos")
        Store.create(uri)
        for number in range(arguments.trials):
            mode = _MODES[number % len(_MODES)]
            ended, made = trial(uri, mode, faults, rng)
            seen["untyped errors" if ended == "untyped errors" else f"{mode}: {ended}"] += 1
            told += made
            seen["written without conditions"] += mode == "no conditions" and bool(made)
            check(uri, told, made, seen)
        store = Store.open(uri)
        seen["versions damaged"] += sum(bool(damage(store, e)) for e in store.catalog.entries())
    return report(seen, _FAULTS, arguments.trials)


def check(uri: str, told: list[Entry], made: list[Entry], seen: Counter[str]) -> None:
    """Compare the store with what was acknowledged in all trials."""
    store = Store.open(uri)
    view = store.catalog.view()
    there = {(e.kind, e.full_name): e for e in view.all_entries}
    for entry in told:
        found = there.get((entry.kind, entry.full_name))
        seen["versions lost"] += found is None or found.digest != entry.digest
    seen["versions damaged"] += sum(bool(damage(store, entry)) for entry in made)
    if len(made) > 1:
        stable = view.aliases.get((Kind.INDEX, "x", "stable"))
        seen["aliases lost"] += stable != made[0].version
    lags = ("next write", "brought up")
    problems = [p for p in store.catalog.problems() if not any(lag in p for lag in lags)]
    seen["problems of the catalog"] += len(problems)
    for problem in problems:
        print(problem, flush=True)


if __name__ == "__main__":
    sys.exit(main())
