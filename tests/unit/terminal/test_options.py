"""Options that several commands have."""

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from cellkin.terminal.options import TAXON, taxon_option


@click.command()
@taxon_option
@click.option("--also", multiple=True, type=TAXON)
def command(taxon: int, also: tuple[int, ...]) -> None:
    """Say what was understood."""
    click.echo(f"{taxon!r} {also!r}")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "0 ()"),
        (["--taxon", "10090"], "10090 ()"),
        (["--taxon", "mouse"], "10090 ()"),
        (["--taxon", "Mus musculus", "--also", "rat", "--also", "9606"], "10090 (10116, 9606)"),
    ],
)
def test_a_species_is_an_id_or_a_name(args: list[str], said: str) -> None:
    done = CliRunner().invoke(command, args)
    assert (done.exit_code, done.output.strip()) == (0, said)


@pytest.mark.parametrize(("given", "fragment"), [("mose", "did you mean mouse"), ("-1", "9606")])
def test_what_is_no_species_is_a_mistake_of_usage(given: str, fragment: str) -> None:
    done = CliRunner().invoke(command, ["--taxon", given])
    assert done.exit_code == 2
    assert "--taxon" in done.output
    assert fragment in done.output


def test_names_are_completed() -> None:
    shell = ShellComplete(command, {}, "command", "_COMPLETE")
    found = shell.get_completions(["--taxon"], "ma")
    assert {item.value for item in found} == {"macaque", "marmoset"}
