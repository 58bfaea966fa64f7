"""Lose a store, restore it from its backup by the commands of docs/operate.md, and serve it again.

    python benchmarks/chaos_recovery.py [--trials 6] [--seed 1]

The disasters: the whole store is gone, some of its files are, or one is damaged. What is lost has
to be noticed by `store verify`; the restored store has to be whole, and a server of it has to
answer as one of the store before. The seconds of each step are printed.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from chaos_report import report
from chaos_world import STAGES, World, answers, files_of

from cellkin.client import Client
from cellkin.server.process import running
from cellkin.server.settings import ServerSettings

_FAULTS = ("losses not noticed", "backups that failed", "restored stores not whole",
           "answers that differ")  # fmt: skip
_DISASTERS = ("store gone", "files gone", "file damaged")


def command(*words: str) -> tuple[int, float]:
    """Run the command; return its exit code and its seconds."""
    began = time.monotonic()
    program = str(Path(sys.executable).with_name("cellkin"))
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if "Traceback" in done.stderr:
        print(done.stderr[-1500:], flush=True)
        return 1, time.monotonic() - began
    return done.returncode, time.monotonic() - began


def served(store: Path) -> dict[str, str]:
    """Return what a server of a store answers."""
    settings = ServerSettings(store=str(store), listen="127.0.0.1:0", grace_s=0.1)
    with running(settings) as address, Client(address) as client:
        return answers(client)


def break_store(store: Path, how: str, rng: random.Random) -> None:
    """Let a disaster happen to a store."""
    if how == "store gone":
        shutil.rmtree(store)
        return
    # Of versions, and not of the catalog's tables, which are made anew from its journal.
    files = [f for f in files_of(store) if f.parts[0] == "indexes" or ".lance" in f.parts[0]]
    files = [f for f in files if not f.parts[0].startswith("catalog") and f.suffix != ".txn"]
    for path in rng.sample(files, 1 if how == "file damaged" else len(files) // 3):
        if how == "file damaged":
            content = bytearray((store / path).read_bytes())
            content[rng.randrange(len(content))] ^= 0xFF
            (store / path).write_bytes(content)
        else:
            (store / path).unlink()


def main() -> int:
    """Run the trials and return 1 where something went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng, seen = random.Random(arguments.seed), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="cellkin-chaos-") as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        whole = World(Path(name) / "world").stage(STAGES[-1])
        before = served(Path(shutil.copytree(whole, Path(name) / "first")))
        for number in range(arguments.trials):
            how = _DISASTERS[number % len(_DISASTERS)]
            place = Path(name) / f"trial-{number}"
            store = Path(shutil.copytree(whole, place / "store"))
            code, backup_s = command(
                "store", "backup", str(place / "backup"), "--store", str(store)
            )
            seen["backups that failed"] += code != 0
            break_store(store, how, rng)
            code, verify_s = command("store", "verify", "--store", str(store))
            # A damaged byte may be one that nothing reads.
            harmless = how == "file damaged" and code == 0 and served(store) == before
            seen["losses not noticed"] += code == 0 and not harmless
            new = place / "restored"
            code, restore_s = command(
                "store", "restore", str(place / "backup"), "--store", str(new)
            )
            again, _ = command("store", "verify", "--store", str(new))
            seen["restored stores not whole"] += code != 0 or again != 0
            began = time.monotonic()
            seen["answers that differ"] += served(new) != before
            served_s = time.monotonic() - began
            seen[how] += 1
            print(
                f"{how}: backup {backup_s:.1f} s, noticed after {verify_s:.1f} s, restored in "
                f"{restore_s:.1f} s, served and asked in {served_s:.1f} s", flush=True,
            )  # fmt: skip
            shutil.rmtree(place)
    return report(seen, _FAULTS, arguments.trials)


if __name__ == "__main__":
    sys.exit(main())
