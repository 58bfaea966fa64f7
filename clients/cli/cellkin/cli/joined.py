"""Command groups of one name from several distributions, merged."""

from collections.abc import Sequence
from copy import copy
from typing import Any

import click
from click.core import ParameterSource

from cellkin.cli.suggestions import SuggestingGroup


class JoinedGroup(SuggestingGroup):
    """The commands of several groups; commands of one name are joined, with all their options.

    Parameters
    ----------
    groups
        The groups. The help is that of the group with most commands.
    """

    def __init__(self, groups: Sequence[click.Group]) -> None:
        main = max(groups, key=lambda group: len(group.commands))
        super().__init__(name=main.name, help=main.help)
        self._groups = groups

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return sorted({name for group in self._groups for name in group.list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one command, joined if several groups have it."""
        found = [command for g in self._groups if (command := g.get_command(ctx, cmd_name))]
        return JoinedCommand(found) if len(found) > 1 else next(iter(found), None)


class JoinedCommand(click.Command):
    """A command with several variants, chosen by which required options are given.

    Parameters
    ----------
    ways
        Commands of one name. One of them requires no option, and provides the help.
    """

    def __init__(self, ways: Sequence[click.Command]) -> None:
        self._ways = sorted(ways, key=lambda way: len(_required(way)), reverse=True)
        parameters = {str(p.name): p for way in self._ways for p in way.params}
        super().__init__(
            name=self._ways[0].name,
            params=[self._optional(parameter) for parameter in parameters.values()],
            help=self._ways[-1].help,
            callback=self._run,
        )

    @staticmethod
    def _optional(parameter: click.Parameter) -> click.Parameter:
        if isinstance(parameter, click.Argument):
            return parameter
        optional = copy(parameter)
        optional.required = False
        return optional

    def _run(self, **values: Any) -> Any:
        context = click.get_current_context()
        given = {
            name
            for name in values
            if context.get_parameter_source(name) is not ParameterSource.DEFAULT
        }
        way = next(way for way in self._ways if _required(way) <= given)
        own = {str(parameter.name) for parameter in way.params}
        if foreign := given - own:
            raise click.UsageError(self._clash(way, foreign))
        return context.invoke(way, **{name: values[name] for name in own})

    def _clash(self, way: click.Command, foreign: set[str]) -> str:
        """Return the message for options that do not belong to the chosen variant."""
        if needed := _required(way):
            return f"{self._options(foreign)} cannot be given beside {self._options(needed)}"
        other = next(way for way in self._ways if foreign & {p.name for p in way.params})
        return f"{self._options(foreign)} needs {self._options(_required(other))}"

    def _options(self, names: set[str]) -> str:
        return ", ".join(sorted(p.opts[0] for p in self.params if p.name in names))


def _required(command: click.Command) -> set[str]:
    return {str(p.name) for p in command.params if p.required and isinstance(p, click.Option)}
