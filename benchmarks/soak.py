"""Run the mixed load of chaos_mixed.py for a while, and keep what the server held.

    python benchmarks/soak.py [--minutes 10] [--clients 6]

Exits 1 if an answer differs, an error comes, or memory, descriptors or threads are not level.
"""

import argparse
import re
import sys

from runs import about, heading, keep, script

_HELD = re.compile(r"^memory (\d+), descriptors (\d+), threads (\d+)$", re.M)


def main() -> int:
    """Run the load, print the table and return the exit code of the script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=6)
    arguments = parser.parse_args()
    kept, seconds = about(), 60 * arguments.minutes
    words = ["--seconds", str(seconds), "--clients", str(arguments.clients)]
    code, output = script("chaos_mixed.py", words, seconds + 900)
    held = [[int(n) for n in each] for each in _HELD.findall(output)]
    counts = {what: int(n) for what, n in re.findall(r"^\| (.+) \| (\d+) \|$", output, re.M)}
    kept |= {"minutes": arguments.minutes, "held": held, "counts": counts, "exit": code}
    path = keep("soak", kept)
    print(f"\n{heading(kept)}\n")
    print("| minute | memory, MiB | descriptors | threads |\n| --- | --- | --- | --- |")
    for number, (memory, descriptors, threads) in enumerate(held, 1):
        minute = number * arguments.minutes / len(held)
        print(f"| {minute:.1f} | {memory} | {descriptors} | {threads} |")
    print(f"kept as {path}")
    return code


if __name__ == "__main__":
    sys.exit(main())
