"""Processes that are forks of one that has imported what they need.

Importing the libraries of the indexer takes two to four seconds of CPU time, and tests start
hundreds of processes. Nothing that starts threads may run before the fork.
"""

import json
import subprocess
import sys
from typing import Any

# A child leaves the loop, and runs the body with what it was told.
_PARENT = """
import atexit, gc, json, os, sys, threading, traceback, warnings
{imports}
gc.freeze()
warnings.filterwarnings("ignore", message="lance is not fork-safe")
print("ready", flush=True)
while line := sys.stdin.buffer.raw.readline():
    child = os.fork()
    if not child:
        break
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
os.dup2(2, 1)  # what the parent says is read by the test
told, code = json.loads(line), 0
try:
{body}
except SystemExit as stop:
    code = stop.code or 0
except BaseException:
    traceback.print_exc()
    code = 1
threading._shutdown()
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # without taking all modules apart, which would take half a second
"""


class Forks:
    """Runs a piece of Python again and again, each time in a process of its own.

    Parameters
    ----------
    imports
        Python that runs once: imports, and what the pieces share.
    body
        Python that runs in each child; the dictionary ``told`` has what it was given.
    """

    def __init__(self, imports: str, body: str) -> None:
        indented = "".join(f"    {line}\n" for line in body.strip().splitlines())
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PARENT.format(imports=imports, body=indented)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def begin(self, **told: Any) -> int:
        """Start a process, and return its ID; `end` must follow."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        return int(self._line())

    def end(self) -> int:
        """Wait for the process, and return its exit code; of a signal the number, negative."""
        return int(self._line())

    def close(self) -> None:
        """End the process that forks."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        assert self._process.wait(timeout=60) == 0
