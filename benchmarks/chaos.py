"""Break what a machine, a disk, a network or another writer can break, and count violations.

    python benchmarks/chaos.py [--case NAME ...] [--share 1.0]

Every case is a script beside this one that names the promise it tries; each may be run alone, with
more trials. Exits 1 if a promise is violated or a case does not end.
"""

import argparse
import re
import sys
import time
from dataclasses import asdict, dataclass

from runs import about, heading, keep, script

_LIMIT_S = 7200.0
"""Of one case."""


@dataclass(frozen=True)
class Case:
    """A script, its promise, and how much of it is run."""

    promise: str
    script: str
    n: int
    option: str = "--trials"
    words: tuple[str, ...] = ()


CASES = {
    "damage": Case("no damaged file changes an answer silently", "chaos_damage.py", 250),
    "garbage": Case("nothing in use, and nothing of others, is collected", "chaos_gc.py", 40),
    "writers": Case("eight writers lose nothing that was acknowledged", "chaos_writers.py", 60,
                    "--seconds"),
    "kills": Case("a killed writer leaves whole versions and outputs", "chaos_kills.py", 150),
    "commands": Case("every writing command may be killed, and run again", "chaos_commands.py",
                     75),
    "files full": Case("what may grow no file is said, and leaves the store as it was",
                       "chaos_commands.py", 75, words=("--fault", "full")),
    "disk full": Case("a full disk is said, and leaves the store as it was", "chaos_commands.py",
                      75, words=("--fault", "disk")),
    "clock": Case("a clock set back dates no version before an earlier one", "chaos_clock.py",
                  200),
    "bucket": Case("a bucket that is away, cuts or has no conditions loses nothing",
                   "chaos_bucket.py", 60),
    "backup": Case("a copy beside writers is of one moment, and whole", "chaos_backup.py", 30,
                   "--copies"),
    "recovery": Case("a lost or damaged store is noticed, restored and answers as before",
                     "chaos_recovery.py", 6),
    "network": Case("answers through a bad network are right, or typed errors",
                    "chaos_network.py", 150),
    "servers": Case("clients of two servers see no error when one is killed",
                    "chaos_servers.py", 20),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a case ended; -1 trials if it did not, and why if it was skipped."""

    case: str
    promise: str
    trials: int
    violations: int
    seconds: float
    skipped: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether the case ended, with trials and without violations, or was skipped."""
        return (self.trials > 0 and self.violations == 0) or bool(self.skipped)

    @property
    def row(self) -> str:
        """The row of the table."""
        trials = self.skipped or (self.trials if self.trials >= 0 else "DID NOT END")
        return f"| {self.promise} | {trials} | {self.violations} | {self.seconds:.0f} |"


def run(name: str, share: float) -> Outcome:
    """Run a case."""
    case, began = CASES[name], time.monotonic()
    print(f"{name}: {case.promise}", flush=True)
    n = max(1, round(case.n * share))
    code, output = script(case.script, [*case.words, case.option, str(n)], _LIMIT_S)
    found = re.findall(r"^(\d+) trials, (\d+) violations$", output, re.M)
    trials, violations = map(int, found[-1]) if found else (-1, 0)
    skipped = "".join(re.findall(r"^(skipped: .+)$", output, re.M)[:1])
    if not skipped and (code not in (0, 1) or (code == 1 and not violations)):
        trials = -1
    seconds = round(time.monotonic() - began, 1)
    return Outcome(name, case.promise, trials, violations, seconds, skipped)


def main() -> int:
    """Run the cases, print the table and return 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=list(CASES), help="these alone")
    parser.add_argument("--share", type=float, default=1.0, help="of the trials")
    arguments = parser.parse_args()
    kept = about()
    outcomes = [run(name, arguments.share) for name in arguments.case or CASES]
    kept["cases"] = [asdict(outcome) for outcome in outcomes]
    path = keep("chaos", kept)
    print(f"\n{heading(kept)}\n")
    print("| promise | trials | violations | s |\n| --- | --- | --- | --- |")
    print("\n".join(each.row for each in outcomes))
    n_trials = sum(max(each.trials, 0) for each in outcomes)
    print(f"| all | {n_trials} | {sum(each.violations for each in outcomes)} | |")
    print(f"kept as {path}")
    return int(not all(each.is_kept for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
