"""A few of the trials of benchmarks/chaos_*.py: damage, clean-ups, writers, kills, mixed load."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("chaos_damage.py", "--trials", "12"),
        ("chaos_gc.py", "--trials", "10"),
        ("chaos_writers.py", "--seconds", "10"),
        ("chaos_kills.py", "--trials", "6"),
        ("chaos_mixed.py", "--seconds", "60"),
    ],
    ids=lambda words: words[0],
)
def test_nothing_is_lost_or_silently_wrong(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / words[0], *words[1:]], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "| trials |" in done.stdout or "| what |" in done.stdout
