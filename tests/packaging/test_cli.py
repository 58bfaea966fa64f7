"""The command line as it is promised: JSON everywhere, quick help, completion, docs/cli.md.

After a change of the commands write the reference anew: python tests/packaging/test_cli.py
"""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cellkin.cli.main import cellkin

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
MARK = "<!-- From here on written by tests/packaging/test_cli.py. -->\n"
COMMAND = Path(sys.executable).with_name("cellkin")
VERBS = {
    "annotate", "demo", "enrich", "explain", "explore", "mcp", "quickstart", "serve", "status",
    "search genes", "search cells", "subtypes contrast",
    *(f"genes {verb}" for verb in ("import", "fetch", "show", "embed", "load", "resolve")),
    *(f"cells {verb}" for verb in ("index", "append", "merge", "layout", "convert", "evaluate")),
    *(f"{kind} {verb}" for kind in ("corpora", "embeddings", "genesets", "indexes")
      for verb in ("list", "show", "verify", "alias", "retract", "unretract", "prune", "gc")),
    *(f"store {verb}" for verb in ("verify", "backup", "reload", "restore", "upgrade")),
    "corpora diff", "embeddings diff", "embeddings export", "embeddings install", "genesets diff",
    "genesets import",
}  # fmt: skip
PROTOCOLS = {"explore", "mcp"}
"""Commands that print nothing for programs: they serve pages, or a protocol."""


def commands(
    command: click.Command = cellkin, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield every command that is no group, with what it is called."""
    context = click.Context(command, info_name=" ".join(("cellkin", *path)))
    if not isinstance(command, click.Group):
        yield " ".join(path), command, context
        return
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, (*path, name))


def reference() -> str:
    """Return the reference of all commands as Markdown."""
    return "".join(map(_section, commands()))


def _section(of: tuple[str, click.Command, click.Context]) -> str:
    name, command, context = of
    usage = " ".join(("cellkin", name, *command.collect_usage_pieces(context)))
    told = "\n\n".join(
        " ".join(part.split()) for part in (command.help or "").split("\f")[0].split("\n\n")
    )
    rows = [
        record
        for option in command.params
        if isinstance(option, click.Option) and (record := option.get_help_record(context))
    ]
    table = "".join(f"| `{_cell(names)}` | {_cell(what)} |\n" for names, what in rows)
    return f"\n### cellkin {name}\n\n    {usage}\n\n{told}\n\n| option | |\n| --- | --- |\n{table}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def test_the_verbs_are_as_agreed() -> None:
    assert {name for name, _, _ in commands()} == VERBS


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_command_speaks_json_and_says_what_it_does(name: str) -> None:
    (command,) = (command for each, command, _ in commands() if each == name)
    options = {option for parameter in command.params for option in parameter.opts}
    assert ("--json" in options) == (name not in PROTOCOLS)
    assert command.help
    assert len(command.get_short_help_str(200)) < 80
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts} has no help"


def test_the_reference_is_that_of_the_commands() -> None:
    head, mark, tail = PAGE.read_text().partition(MARK)
    assert mark
    assert tail == reference(), "run: python tests/packaging/test_cli.py"
    for code in ("`0`", "`1`", "`2`", "`130`"):
        assert code in head


def test_help_is_quick() -> None:
    def used_s() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    # The time of the processor, for it does not depend on what else the machine does.
    taken = []
    for _ in range(5):
        start_s = used_s()
        subprocess.run([COMMAND, "--help"], check=True, stdout=subprocess.DEVNULL)
        taken.append(used_s() - start_s)
    assert min(taken) < 0.3


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("cellkin em", {"embeddings"}),
        ("cellkin embeddings re", {"retract"}),
        ("cellkin search ", {"cells", "genes"}),
        ("cellkin annotate --spa", {"--space"}),
        ("cellkin annotate --space ", {"text", "expression"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_words_are_completed(shell: str, words: str, completed: set[str]) -> None:
    given = words.split()
    last = "" if words.endswith(" ") else given[-1]
    at = len(given) - (last != "")
    env = {**os.environ, "_CELLKIN_COMPLETE": f"{shell}_complete", "COMP_WORDS": words}
    env["COMP_CWORD"] = last if shell == "fish" else str(at)
    done = subprocess.run([COMMAND], env=env, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    if shell == "bash":
        offered = {line.partition(",")[2] for line in lines}
    elif shell == "zsh":
        offered = set(lines[1::3])
    else:
        offered = {line.partition(",")[2].partition("\t")[0] for line in lines}
    assert offered == completed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(shell: str) -> None:
    env = {**os.environ, "_CELLKIN_COMPLETE": f"{shell}_source"}
    done = subprocess.run([COMMAND], env=env, capture_output=True, text=True, check=True)
    assert "_CELLKIN_COMPLETE" in done.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True)


def test_exit_codes(tmp_path: Path) -> None:
    def code(*arguments: str) -> int:
        return subprocess.run([COMMAND, *arguments], capture_output=True, check=False).returncode

    assert code("--version") == 0
    assert code("embeddings", "list", "--store", str(tmp_path / "none")) == 2
    assert code("embeddings", "lits") == 2


if __name__ == "__main__":
    start, found, _ = PAGE.read_text().partition(MARK)
    PAGE.write_text(start + MARK + reference())
