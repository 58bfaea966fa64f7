"""The ``cellkin`` command: each distribution brings its sub-commands by entry point."""

import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points

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


class Commands(SuggestingGroup):
    """The sub-commands of every installed distribution, loaded when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the sub-commands."""
        return sorted(_commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one sub-command; groups of one name have the commands of all distributions."""
        found = [point.load() for point in _commands().get(cmd_name, ())]
        return JoinedGroup(found) if len(found) > 1 else next(iter(found), None)


@cache
def _commands() -> dict[str, list[EntryPoint]]:
    """Return the entry points by name; finding them reads the metadata of all that is installed."""
    points: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=_GROUP):
        points.setdefault(point.name, []).append(point)
    return points


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cellkin-client", prog_name="cellkin")
def cellkin() -> None:
    """Find a cell's kin and a gene's kin in what is written about genes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0 is success; 2 a request that was refused, by cellkin or by the machine, with the reason on
    standard error; 130 an interrupt; 141 an output whose reader went away; 1 a bug.
    """
    try:
        cellkin.main(args=arguments, prog_name="cellkin", standalone_mode=False)
        # Here and not when the process ends, when nothing can be said of it any more.
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
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
    except BaseException as error:  # a panic of what is written in Rust is no Exception
        failure = machine_failure(error, "the command stopped")
        if failure is None:
            raise
        _drop_output()
        return _refused(failure)
    return 0


def _refused(error: CellkinError) -> int:
    click.echo(f"error: {error.message}", err=True)
    for key, value in sorted(error.metadata.items()):
        click.echo(f"  {key}: {value}", err=True)
    return EXIT_BUG if isinstance(error, InternalError) else EXIT_REFUSED


def _has_no_reader(stop: BaseException) -> bool:
    """Tell whether an end means that the output has no reader any more."""
    # rich and click exit with 1 then, click without a trace but the wrapper of its own.
    wrapped = type(sys.stdout).__module__.startswith("click.")
    return isinstance(stop.__context__ or stop, BrokenPipeError) or wrapped


def _drop_output() -> None:
    """Let what was not written be forgotten, or Python fails at it again when the process ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
