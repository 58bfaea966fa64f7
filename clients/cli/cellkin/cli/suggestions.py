"""Suggestions for unknown commands: similar names, or the package to install."""

from difflib import get_close_matches

import click

_INDEXER = "pip install 'cellkin[cells,cpu]'"
_SERVER = "pip install 'cellkin[cpu,server]'"
_OWN = "pip install 'cellkin[cells,cpu,server]'"
_ALL = "pip install 'cellkin[all]'"
_VERBS = {
    "corpora": "list show diff",
    "embeddings": "list show diff export install",
    "genesets": "import diff",
    "indexes": "list",
}
_COMES_WITH = {
    "cells": _INDEXER,
    "demo": _ALL,
    "genes": _INDEXER,
    "quickstart": _OWN,
    "serve": _SERVER,
    **{
        f"{group} {verb}": _INDEXER
        for group, verbs in _VERBS.items()
        for verb in (*verbs.split(), "verify", "unretract", "prune", "gc")
    },
    **{f"store {verb}": _INDEXER for verb in ("verify", "restore", "upgrade")},
}
"""Commands of the service, which the client alone lacks."""


class SuggestingGroup(click.Group):
    """A group that suggests a similar name or a package for an unknown command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of the first argument, or raise with a suggestion."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchOption:
            raise
        except click.UsageError as error:
            raise click.UsageError(self._refusal(ctx, args[0]), ctx) from error

    def _refusal(self, ctx: click.Context, name: str) -> str:
        within = ctx.command_path.split()[1:]
        prefix = "".join(f"{group} " for group in within)
        missing = {
            known.removeprefix(prefix): what
            for known, what in _COMES_WITH.items()
            if known.startswith(prefix) and " " not in known.removeprefix(prefix)
        }
        said = f"there is no command {prefix + name!r}"
        here = set(self.list_commands(ctx))
        if name in missing:
            return f"{said} in this environment; it comes with: {missing[name]}"
        near = get_close_matches(name, sorted(here | set(missing)))
        if not near:
            return f"{said}; there is: {', '.join(sorted(here))}"
        also = {missing[each] for each in near if each not in here}
        comes = f" ({'; '.join(sorted(also))})" if also else ""
        return f"{said}; did you mean {' or '.join(near)}?{comes}"
