"""Ask a server through a network that cuts connections, goes away, and is slow.

    python benchmarks/chaos_network.py [--trials 150] [--seed 1]

A proxy stands between client and server. While something is asked it cuts every connection after
some bytes, is away for a moment, or delays what passes. The client asks again by itself; an answer
has to be the one that an undisturbed client gets, and an error has to say that the server could not
be reached in time.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import traceback
from collections import Counter
from pathlib import Path

from chaos_mixed import serving
from chaos_proxy import Faults, proxy
from chaos_report import report
from chaos_world import STAGES, World, answers

from cellkin.client import Client

_FAULTS = ("answers that differ", "wrong errors", "untyped errors")
_MODES = ("cut", "away", "slow")
_ASKED = (
    "labels trio@stable text", "labels trio expression", "search trio@stable exact=True", "gene",
    "cells", "indexes",
)  # fmt: skip
_ALLOWED = ("refused: UNAVAILABLE", "refused: DEADLINE_EXCEEDED")


def disturb(mode: str, faults: Faults, rng: random.Random, done: threading.Event) -> None:
    """Disturb the network for a moment, or until all is answered."""
    done.wait(rng.uniform(0, 0.05))
    faults.cut_after = rng.randrange(100, 60_000) if mode == "cut" else None
    faults.away = mode == "away"
    faults.delay_s = rng.uniform(0.001, 0.05) if mode == "slow" else 0.0
    done.wait(rng.uniform(0.05, 1.0))
    faults.clear()


def main() -> int:
    """Run the trials and return 1 where something went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng, seen = random.Random(arguments.seed), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="cellkin-chaos-") as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        root = Path(name) / "store"
        shutil.copytree(World(Path(name) / "world").stage(STAGES[-1]), root)
        with (
            serving(root, Path(name) / "log.err") as (address, _),
            proxy(int(address.rpartition(":")[2])) as (port, faults),
        ):
            with Client(address) as client:
                right = answers(client, _ASKED)
            with Client(f"127.0.0.1:{port}", attempts=5, timeout_s=20) as client:
                for number in range(arguments.trials):
                    mode, asked = _MODES[number % len(_MODES)], rng.choice(_ASKED)
                    seen[trial(client, mode, asked, right, faults, rng)] += 1
    return report(seen, _FAULTS, arguments.trials)


def trial(
    client: Client, mode: str, asked: str, right: dict[str, str], faults: Faults, rng: random.Random
) -> str:
    """Ask something through a disturbed network; return how it ended."""
    done = threading.Event()
    thread = threading.Thread(target=disturb, args=(mode, faults, rng, done))
    thread.start()
    try:
        (answer,) = answers(client, [asked]).values()
    except Exception:  # noqa: BLE001
        print(traceback.format_exc()[-1500:], flush=True)
        return "untyped errors"
    finally:
        done.set()
        thread.join()
    if answer == right[asked]:
        return f"{mode}: answered"
    if answer in _ALLOWED:
        return f"{mode}: {answer}"
    print(f"{asked}: {answer}", flush=True)
    return "wrong errors" if answer.startswith("refused") else "answers that differ"


if __name__ == "__main__":
    sys.exit(main())
