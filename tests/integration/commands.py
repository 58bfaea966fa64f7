"""Run the `cellkin` command, in a fork of a process that has imported what commands import."""

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.forking import Forks

CELLKIN = Path(sys.executable).with_name("cellkin")
_IMPORTS = """
import cellkin.client.labels.annotation
import cellkin.client.queries
import cellkin.indexer.cells.job
import cellkin.indexer.embeddings.job
import cellkin.indexer.evaluation.run
import cellkin.indexer.neighbors.build
import cellkin.indexer.quickstart.run
import cellkin.terminal.console
from cellkin.cli.main import _commands, main
_commands()  # finds the commands of all installed packages
"""
_COMMAND = """
for number, path in enumerate((os.devnull, told["stdout"], told["stderr"])):
    file = os.open(path, os.O_WRONLY if number else os.O_RDONLY)
    os.dup2(file, number)
    os.close(file)
os.chdir(told["folder"])
os.environ.clear()
os.environ.update(told["environment"])
sys.argv = told["arguments"]
code = main()
"""


class Commands:
    """Runs commands one after another, with arguments, environment and output of their own.

    Parameters
    ----------
    folder
        A folder for their output.
    """

    def __init__(self, folder: Path) -> None:
        self._outputs = [folder / "stdout", folder / "stderr"]
        self._forks = Forks(_IMPORTS, _COMMAND)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `cellkin` with arguments, in the environment and folder of the caller."""
        words = [str(CELLKIN), *map(str, arguments)]
        for output in self._outputs:
            output.write_bytes(b"")
        stdout, stderr = map(str, self._outputs)
        self._forks.begin(
            arguments=words,
            stdout=stdout,
            stderr=stderr,
            folder=str(Path.cwd()),
            environment=dict(os.environ),
        )
        code = self._forks.end()
        said = [output.read_text() for output in self._outputs]
        return subprocess.CompletedProcess(words, code, *said)

    def close(self) -> None:
        """End the process from which commands are forked."""
        self._forks.close()
