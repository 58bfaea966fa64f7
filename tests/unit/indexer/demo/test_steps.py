import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cellkin.indexer.demo import steps as demo_steps
from cellkin.indexer.demo.steps import Steps, serving

FakeCommand = Callable[[str], None]


@pytest.fixture
def cellkin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCommand:
    """Give a function that puts a Python script in place of the ``cellkin`` command."""

    def put(script: str) -> None:
        path = tmp_path / "cellkin"
        # -S -E: no site packages are needed, and starting without them is quick.
        path.write_text(f"#!{sys.executable} -SE\nimport os, signal, sys, time\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(demo_steps, "CELLKIN", path)

    monkeypatch.chdir(tmp_path)
    demo_steps.WORK.mkdir()
    return put


def serve_script(tmp_path: Path) -> str:
    return (
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "print('serving on 127.0.0.1:4242', flush=True)\n"
        "time.sleep(30)"
    )


def assert_ended(tmp_path: Path) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_step_gives_what_the_command_printed(
    cellkin: FakeCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    cellkin("print(sys.argv[1:])")
    steps = Steps()
    assert steps.run("embed text", "genes", "embed", "--store", "a b") == (
        "['genes', 'embed', '--store', 'a b']\n"
    )
    assert list(steps.seconds) == ["embed text"]
    assert capsys.readouterr().out.endswith(" s  cellkin genes embed --store 'a b'\n")


def test_a_failed_command_ends_the_demo_with_its_message_and_exit_code(
    cellkin: FakeCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    cellkin("sys.exit(print('error: no such store', file=sys.stderr) or 2)")
    with pytest.raises(SystemExit) as caught:
        Steps().run("import genes", "genes", "import")
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "cellkin genes import\nfailed (exit code 2):\nerror: no such store\n"
    )


def test_a_killed_command_ends_the_demo_as_a_shell_would(cellkin: FakeCommand) -> None:
    cellkin("os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(SystemExit) as caught:
        Steps().run("import genes", "genes", "import")
    assert caught.value.code == 128 + 9


def test_branches_run_at_the_same_time_and_print_whole_lines(
    cellkin: FakeCommand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Each command waits for the file of the other.
    cellkin(
        f"here, other = (os.path.join({str(tmp_path)!r}, name) for name in sys.argv[1:])\n"
        "open(here, 'w').close()\n"
        "while not os.path.exists(other): time.sleep(0.01)"
    )
    steps = Steps()
    steps.together(lambda: steps.run("one", "a", "b"), lambda: steps.run("two", "b", "a"))
    lines = sorted(capsys.readouterr().out.splitlines())
    assert [line.split()[0] for line in lines] == ["one", "two"]
    assert [line.partition(" s  ")[2] for line in lines] == ["cellkin a b", "cellkin b a"]


def test_a_branch_that_fails_ends_the_commands_of_the_others(
    cellkin: FakeCommand, tmp_path: Path
) -> None:
    started = tmp_path / "pid"
    cellkin(
        "if sys.argv[1] == 'fail':\n"
        f"    while not os.path.exists({str(started)!r}): time.sleep(0.01)\n"
        "    sys.exit(7)\n" + serve_script(tmp_path)
    )
    steps = Steps()
    with pytest.raises(SystemExit) as caught:
        steps.together(lambda: steps.run("long", "wait"), lambda: steps.run("bad", "fail"))
    assert caught.value.code == 7
    assert_ended(tmp_path)


def test_the_server_is_ended_after_use(cellkin: FakeCommand, tmp_path: Path) -> None:
    cellkin(serve_script(tmp_path))
    with serving(Steps()) as address:
        assert address == "127.0.0.1:4242"
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert_ended(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_the_server_is_ended_whatever_happens(
    cellkin: FakeCommand, tmp_path: Path, error: type[BaseException]
) -> None:
    cellkin(serve_script(tmp_path))
    with pytest.raises(error), serving(Steps()):
        raise error
    assert_ended(tmp_path)


def test_a_server_that_does_not_start_shows_its_log(
    cellkin: FakeCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    cellkin("sys.exit(print('error: no such store', file=sys.stderr) or 3)")
    with pytest.raises(SystemExit) as caught, serving(Steps()):
        pytest.fail("it did not start")
    assert caught.value.code == 3
    assert capsys.readouterr().err.endswith("failed (exit code 3):\nerror: no such store\n")


def test_a_server_that_hangs_does_not_hang_the_demo(
    cellkin: FakeCommand,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cellkin(serve_script(tmp_path).replace("print", "# print"))
    monkeypatch.setattr(demo_steps, "SERVER_START_S", 0.25)
    with pytest.raises(SystemExit) as caught, serving(Steps()):
        pytest.fail("it did not start")
    assert caught.value.code == 1
    assert capsys.readouterr().err.endswith("it did not say where it serves within 0.25 s\n")
    assert_ended(tmp_path)


def test_a_server_deaf_to_the_first_signal_is_killed(
    cellkin: FakeCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cellkin("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + serve_script(tmp_path))
    monkeypatch.setattr(demo_steps, "SERVER_END_S", 0.1)
    with serving(Steps()):
        pass
    assert_ended(tmp_path)
