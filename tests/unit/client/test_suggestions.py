"""What is said of a command that there is none of."""

from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

from cellkin.cli import main, suggestions

CLIENT_ALONE = {"annotate", "explain", "indexes", "search", "status"}


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Returns what is said of a command that is refused."""

    def run(words: str) -> str:
        assert main.main(words.split()) == 2
        return capsys.readouterr().err

    return run


@pytest.fixture
def client_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    every = main._commands()

    def commands() -> dict[str, list[EntryPoint]]:
        own = {n: [p for p in every[n] if p.value.startswith("cellkin.cli.")] for n in CLIENT_ALONE}
        assert all(own.values())
        return own

    monkeypatch.setattr(main, "_commands", commands)


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ("anotate", "did you mean annotate?"),
        ("indexs show", "did you mean indexes?"),
        ("indexes shwo", "did you mean show?"),
        ("search gene", "did you mean genes"),
        ("xyzzy", "there is: annotate, "),
    ],
)
def test_what_is_spelt_otherwise_is_suggested(
    said: Callable[[str], str], words: str, fragment: str
) -> None:
    assert fragment in said(words)


@pytest.mark.usefixtures("client_alone")
@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ("serve --store s", "it comes with: pip install 'cellkin[cpu,server]'"),
        ("genes import", "it comes with: pip install 'cellkin[cells,cpu]'"),
        ("indexes prune a", "it comes with: pip install 'cellkin[cells,cpu]'"),
        ("gene import", "did you mean genes? (pip install 'cellkin[cells,cpu]')"),
        ("anotate", "did you mean annotate?"),
    ],
)
def test_the_client_alone_says_what_brings_a_command(
    said: Callable[[str], str], words: str, fragment: str
) -> None:
    assert fragment in said(words)


def test_every_command_of_the_service_is_known() -> None:
    clients = ("cellkin.cli.", "cellkin.explore.", "cellkin.mcp.")
    service: set[str] = set()
    for name, points in main._commands().items():
        others = [point.load() for point in points if not point.value.startswith(clients)]
        own = [point.load() for point in points if point.value.startswith(clients)]
        if own:
            verbs = {verb for group in others for verb in group.commands}
            service |= {f"{name} {verb}" for verb in verbs - set(getattr(own[0], "commands", ()))}
        else:
            service.add(name)
    assert service == set(suggestions._COMES_WITH)


def test_an_option_that_there_is_none_of_is_clicks_own_matter(said: Callable[[str], str]) -> None:
    assert "No such option" in said("--nonsense")
