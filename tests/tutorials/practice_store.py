"""The practice folder of the tutorials with its store, made once for all of them."""

import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from tests.tutorials.runner import ROOT, working_in

from cellkin.cli.main import main

sys.path.insert(0, str(ROOT / "docs" / "tutorials"))
import practice  # a script, not a package


def make_practice(folder: Path) -> None:
    """Do what practice.py does, without a process a command."""
    practice.make_data(folder)
    with working_in(folder):
        for step in practice.STEPS:
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as said:
                assert main(shlex.split(step)) == 0, said.getvalue()
