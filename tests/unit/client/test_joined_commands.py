"""Commands of one name that two distributions bring."""

import click
import pytest
from click.testing import CliRunner

from cellkin.cli.joined import JoinedGroup

STORE = click.option("--store", required=True, help="A store.")
SERVER = click.option("--server", help="A server.")
DEEP = click.option("--deep", is_flag=True, help="Look closely.")


@click.group()
def of_service() -> None:
    """Look after things."""


@of_service.command("show")
@click.argument("name")
@STORE
@DEEP
def show_stored(name: str, store: str, deep: bool) -> None:
    """Show a thing of a store."""
    click.echo(f"{name} in {store}, deep {deep}")


@of_service.command()
@STORE
def collect(store: str) -> None:
    """Remove things."""
    click.echo(f"collected {store}")


@click.group()
def of_client() -> None:
    """Look at things."""


@of_client.command("show")
@click.argument("name")
@SERVER
def show_served(name: str, server: str | None) -> None:
    """Show a thing."""
    click.echo(f"{name} at {server}")


@pytest.fixture(params=[(of_service, of_client), (of_client, of_service)], ids=["first", "last"])
def joined(request: pytest.FixtureRequest) -> JoinedGroup:
    return JoinedGroup(request.param)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("collect --store s", "collected s"),
        ("show x --store s", "x in s, deep False"),
        ("show x --store s --deep", "x in s, deep True"),
        ("show x", "x at None"),
        ("show x --server a:1", "x at a:1"),
    ],
)
def test_what_is_given_says_which_is_meant(joined: JoinedGroup, words: str, said: str) -> None:
    done = CliRunner().invoke(joined, words)
    assert (done.exit_code, done.output) == (0, f"{said}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("collect", "Missing option '--store'"),
        ("show", "Missing argument 'NAME'"),
        ("show x --store s --server a:1", "--server cannot be given beside --store"),
        ("show x --deep", "--deep needs --store"),
        ("hide x", "there is no command 'hide'; there is: collect, show"),
    ],
)
def test_what_cannot_be_meant_is_refused(joined: JoinedGroup, words: str, message: str) -> None:
    done = CliRunner().invoke(joined, words)
    assert done.exit_code == 2
    assert message in done.output


def test_the_help_is_that_of_all(joined: JoinedGroup) -> None:
    shown = CliRunner().invoke(joined, "--help").output
    assert "Look after things." in shown
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("  ")][-2:] == [
        "collect",
        "show",
    ]
    shown = CliRunner().invoke(joined, "show --help").output
    assert "Show a thing.\n" in shown
    assert all(option in shown for option in ("--store", "--server", "--deep"))
    assert "[required]" not in shown
