"""``python -m cellkin.cli.prepared MODULE...``: a command that imports before it has arguments.

It imports the modules, then reads one line, a JSON list of the arguments of ``cellkin``, and runs
that command. Imports are most of the time of a short command, and another process can have them
made while it does something else. Without a line, it ends.
"""

import json
import signal
import sys
from contextlib import suppress
from importlib import import_module

from cellkin.cli.main import main


def run() -> int:
    """Run the command and return its exit code; see `cellkin.cli.main.main`."""
    # Until there is a command, an interrupt has nothing to say.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    for module in sys.argv[1:]:
        with suppress(ImportError):  # the command will say what it lacks
            import_module(module)
    line = sys.stdin.readline()
    if not line:
        return 0
    signal.signal(signal.SIGINT, interrupt)
    return main(json.loads(line))


if __name__ == "__main__":
    sys.exit(run())
