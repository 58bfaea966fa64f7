"""How every chaos script closes: a table of what happened, and trials and violations."""

from collections import Counter
from collections.abc import Collection


def closing_line(n_trials: int, n_violations: int) -> str:
    """Return the last line, which `chaos.py` reads."""
    return f"{n_trials} trials, {n_violations} violations"


def report(counts: Counter[str], faults: Collection[str], n_trials: int) -> int:
    """Print a table and the closing line; return 1 where there are faults.

    Parameters
    ----------
    counts
        What happened, and how often.
    faults
        What of it should not happen.
    n_trials
        How often something was tried.
    """
    print("| what | number |\n| --- | --- |")
    for what in [*sorted(set(counts) - set(faults)), *faults]:
        print(f"| {what} | {counts[what]} |")
    n_violations = sum(counts[what] for what in faults)
    print(closing_line(n_trials, n_violations))
    return int(n_violations > 0)
