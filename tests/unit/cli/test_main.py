"""The ``cellkin`` command as a process."""

import subprocess
import sys

# A finalizer is interrupted, where Python prints the interrupt and goes on.
_LOST = """
import signal, sys, time
from cellkin.cli import main

class Interrupted:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

@main.cellkin.command("wait")
def wait():
    Interrupted()
    for _ in range(300):
        time.sleep(0.1)

main.cellkin.get_command = lambda context, name: wait
sys.exit(main.main(["wait"]))
"""


def test_an_interrupt_in_a_finalizer_is_not_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOST], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 130
    assert done.stderr.strip() == "interrupted; what was published before is whole"


def test_other_errors_in_finalizers_are_printed() -> None:
    script = _LOST.replace("signal.raise_signal(signal.SIGINT)", "raise ValueError('lost')")
    done = subprocess.run(
        [sys.executable, "-c", script.replace("range(300)", "range(1)")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "ValueError: lost" in done.stderr
