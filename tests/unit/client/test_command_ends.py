"""How the command ends where the machine does not let it go on."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from cellkin.cli import main as module

COMMAND = Path(sys.executable).with_name("cellkin")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "/data/x"), "errno: ENOSPC"),
        (PermissionError(13, "Permission denied", "/data/x"), "errno: EACCES"),
        (RuntimeError("lance error: Too many open files (os error 24), a.rs:1:2"), "errno: EMFILE"),
        (BaseException("Os { code: 24, kind: TooManyOpenFiles }"), "errno: EMFILE"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_what_the_machine_refuses_is_no_bug(
    error: BaseException,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(module, "cellkin", failing)
    assert module.main([]) == module.EXIT_REFUSED
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_of_a_command_is_kept(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def ending() -> None:
        click.get_current_context().exit(code)

    monkeypatch.setattr(module, "cellkin", ending)
    assert module.main([]) == code


def test_a_bug_is_shown_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def failing() -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(module, "cellkin", failing)
    with pytest.raises(ValueError, match="a bug"):
        module.main([])


def test_an_output_without_room_ends_in_a_code_that_says_so() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([COMMAND, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, "ENOSPC" in done.stderr) == (module.EXIT_REFUSED, True)
    assert "Traceback" not in done.stderr


def test_an_output_that_nobody_reads_any_more_ends_quietly() -> None:
    done = subprocess.run(
        ["sh", "-c", f"({COMMAND} annotate --help; echo $? >&2) | true"],
        capture_output=True,
        text=True,
    )
    assert done.stderr.strip() in (str(module.EXIT_NO_READER), "0"), "0 where it was quicker"
