"""Run the `cellkin` command in a fork of a process that has imported what commands import.

A command of the indexer or the client takes two to four seconds of CPU time to import its
libraries, and the tests run hundreds of them. A fork runs the same `main`, with arguments,
environment, folder, output and exit of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

CELLKIN = Path(sys.executable).with_name("cellkin")
_MODULES = (
    "cellkin.cli.main",
    "cellkin.client.labels.annotation",
    "cellkin.client.queries",
    "cellkin.indexer.cells.job",
    "cellkin.indexer.embeddings.job",
    "cellkin.indexer.evaluation.run",
    "cellkin.indexer.neighbors.build",
    "cellkin.indexer.quickstart.run",
    "cellkin.matrices.cells",
    "cellkin.store.store",
    "cellkin.terminal.console",
)

# It imports, and makes a child for every line it reads. A child leaves the loop and becomes the
# command.
_FORKING = """
import atexit, gc, json, os, sys, threading, traceback, warnings
from importlib import import_module
for name in sys.argv[1:]:
    import_module(name)
from cellkin.cli.main import _commands, main
_commands()
gc.freeze()
warnings.filterwarnings("ignore", message="lance is not fork-safe")
print("ready", flush=True)
while line := sys.stdin.buffer.raw.readline():
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
told = json.loads(line)
for number, path in enumerate((os.devnull, told["stdout"], told["stderr"])):
    file = os.open(path, os.O_WRONLY if number else os.O_RDONLY)
    os.dup2(file, number)
    os.close(file)
os.chdir(told["folder"])
os.environ.clear()
os.environ.update(told["environment"])
sys.argv = told["arguments"]
code = 1
try:
    code = main()
except SystemExit as stop:
    code = stop.code or 0
except BaseException:
    traceback.print_exc()
threading._shutdown()
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # taking all modules apart would take half a second
"""


class Commands:
    """Runs commands one after another, each in a process of its own.

    Parameters
    ----------
    folder
        A folder for their output.
    """

    def __init__(self, folder: Path) -> None:
        self._outputs = [folder / "stdout", folder / "stderr"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORKING, *_MODULES],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `cellkin` with arguments, in the environment and folder of the caller."""
        words = [str(CELLKIN), *map(str, arguments)]
        for output in self._outputs:
            output.write_bytes(b"")
        stdout, stderr = map(str, self._outputs)
        told = {
            "arguments": words,
            "stdout": stdout,
            "stderr": stderr,
            "folder": str(Path.cwd()),
            "environment": dict(os.environ),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        code = int(self._line())
        said = [output.read_text() for output in self._outputs]
        return subprocess.CompletedProcess(words, code, *said)

    def close(self) -> None:
        """End the process from which commands are forked."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(timeout=20)
