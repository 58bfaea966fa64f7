"""A server stops, whichever of its threads a signal interrupts, and however early it comes."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from cellkin.server.stopping import StopRequest

# Each case ends by itself, with 0, only where the request was heard.
CASES = {
    "from another thread": "stop.set()",
    "before the wait": "signal.raise_signal(number)",
    # A handler of Python's would not run: the main thread sleeps in a system call.
    "delivered to another thread": (
        "def other():\n"
        "    time.sleep(0.2)\n"
        "    signal.pthread_kill(threading.get_ident(), number)\n"
        "threading.Thread(target=other, daemon=True).start()"
    ),
    "to the process": (
        "threading.Timer(0.2, os.kill, (os.getpid(), number)).start()"
    ),
}  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("case", CASES)
def test_a_request_is_heard(case: str, number: signal.Signals) -> None:
    script = (
        "import os, signal, threading, time\n"
        "from cellkin.server.stopping import StopRequest\n"
        f"number = signal.Signals({number:d})\n"
        "with StopRequest() as stop:\n"
        + "".join(f"    {line}\n" for line in CASES[case].splitlines())
        + "    stop.wait()\n"
        + "    print('heard')\n"
        + "signal.raise_signal(number)\n"  # one more does not stop the process halfway
        + "print('ended')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout.split() == ["heard", "ended"], ended.stderr
    assert not ended.stderr


def test_other_signals_do_not_stop_it() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    usr1 = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with StopRequest() as stop:
            waited = threading.Thread(target=stop.wait, daemon=True)
            waited.start()
            os.kill(os.getpid(), signal.SIGUSR1)
            waited.join(0.2)
            assert waited.is_alive()
            stop.set()
            waited.join(10)
            assert not waited.is_alive()
    finally:
        signal.signal(signal.SIGUSR1, usr1)
        for number, handler in before.items():
            signal.signal(number, handler)
