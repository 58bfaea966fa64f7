"""The ``cellkin`` command, with sub-commands of each distribution by entry point."""

import _thread
import gc
import os
import sys
import time
from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from cellkin.cli.joined import JoinedGroup
from cellkin.cli.suggestions import SuggestingGroup
from cellkin.wire.errors import CellkinError, InternalError
from cellkin.wire.failures import machine_failure

_GROUP = "cellkin.commands"
EXIT_BUG = 1
EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130
EXIT_NO_READER = 141
_AGAIN_S = 0.05


class Commands(SuggestingGroup):
    """The sub-commands of every installed distribution, loaded on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the sub-commands."""
        return sorted(_commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one sub-command; groups of one name are merged."""
        found = [point.load() for point in _commands().get(cmd_name, ())]
        return JoinedGroup(found) if len(found) > 1 else next(iter(found), None)


@cache
def _commands() -> dict[str, list[EntryPoint]]:
    """Return the entry points by name; cached, as the search reads all installed metadata."""
    points: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=_GROUP):
        points.setdefault(point.name, []).append(point)
    return points


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cellkin-client", prog_name="cellkin")
def cellkin() -> None:
    """Label single cells, and find similar cells and genes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0 is success; 2 a request refused by cellkin or the operating system, with the reason on
    standard error; 130 an interrupt; 141 an output closed by its reader; 1 a bug.
    """
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _interrupt_again
    try:
        # Commands return None; an int is the exit code given to `click.Context.exit`.
        code = cellkin.main(args=arguments, prog_name="cellkin", standalone_mode=False)
        # Here, as an error at process exit could not be reported.
        sys.stdout.flush()
        # Otherwise Python looks at every object of every library before it ends, which takes .3 s.
        gc.freeze()
    except click.ClickException as error:
        error.show()
        return EXIT_REFUSED
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what was published before is whole", err=True)
        return EXIT_INTERRUPTED
    except CellkinError as error:
        return _refused(error)
    except (BrokenPipeError, SystemExit) as stop:
        if not _has_no_reader(stop):
            raise
        _drop_output()
        return EXIT_NO_READER
    except BaseException as error:  # Rust panics are not Exceptions
        failure = machine_failure(error, "the command stopped")
        if failure is None:
            raise
        _drop_output()
        return _refused(failure)
    return code if isinstance(code, int) else 0


def _interrupt_again(lost: Any) -> None:
    """Interrupt again where Python could only print that it was interrupted.

    That is so in callbacks of weak references, which every import has, and in finalizers.
    """
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return

    def interrupt() -> None:
        time.sleep(_AGAIN_S)
        _thread.interrupt_main()

    # Later, and from another thread: here it would be lost as well.
    _thread.start_new_thread(interrupt, ())


def _refused(error: CellkinError) -> int:
    click.echo(f"error: {error.message}", err=True)
    for key, value in sorted(error.metadata.items()):
        click.echo(f"  {key}: {value}", err=True)
    return EXIT_BUG if isinstance(error, InternalError) else EXIT_REFUSED


def _has_no_reader(stop: BaseException) -> bool:
    """Return whether a `BrokenPipeError` or `SystemExit` came from output that nobody reads."""
    # rich and click exit with 1 then; of click, only its wrapper of stdout shows it.
    wrapped = type(sys.stdout).__module__.startswith("click.")
    return wrapped or any(isinstance(e, BrokenPipeError) for e in (stop, stop.__context__))


def _drop_output() -> None:
    """Discard unwritten output, or Python fails again when it flushes at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
