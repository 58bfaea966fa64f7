"""A server stops, whichever of its threads a signal interrupts, and however early it comes."""

import signal
import subprocess
import sys

import pytest

# Each case ends by itself only where the request was heard.
CASES = {
    "from another thread": "stop.set()",
    "before the wait": "signal.raise_signal(number)",
    # No handler of Python's would run: the main thread sleeps in a system call.
    "delivered to another thread": (
        "def other():\n"
        "    time.sleep(0.2)\n"
        "    signal.pthread_kill(threading.get_ident(), number)\n"
        "threading.Thread(target=other, daemon=True).start()"
    ),
    "to the process": "threading.Timer(0.2, os.kill, (os.getpid(), number)).start()",
    "after another signal": (
        "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "signal.raise_signal(signal.SIGUSR1)\n"
        "sent = time.monotonic()\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), number)).start()"
    ),
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("case", CASES)
def test_a_request_ends_the_wait(case: str, number: signal.Signals) -> None:
    script = (
        "import os, signal, threading, time\n"
        "from cellkin.server.stopping import StopRequest\n"
        f"number, sent = signal.Signals({number:d}), None\n"
        "with StopRequest() as stop:\n"
        + "".join(f"    {line}\n" for line in CASES[case].splitlines())
        + "    stop.wait()\n"
        + "    print('heard' if sent is None or time.monotonic() - sent > 0.4 else 'too early')\n"
        + "signal.raise_signal(number)\n"  # one more does not stop the process halfway
        + "print('ended')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout.splitlines() == ["heard", "ended"], ended.stderr
    assert not ended.stderr
