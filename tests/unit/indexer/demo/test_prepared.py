"""Commands that are started before their arguments are known."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cellkin.indexer.demo.prepared import Prepared


def test_a_prepared_command_runs_with_its_arguments(tmp_path: Path) -> None:
    log = tmp_path / "log"
    environment = {"CELLKIN_ADDRESS": "?"}
    with (
        log.open("w") as stderr,
        Prepared(["json", "no.such.module"], stderr, environment) as prepared,
        prepared.start(["status"]) as command,
    ):
        stdout, _ = command.communicate(timeout=60)
    assert command.returncode == 2
    assert stdout == ""
    assert "error: the server's address is '?'" in log.read_text()
    assert "no.such.module" not in log.read_text(), "the command itself says what it lacks"


def test_a_command_that_is_not_started_is_ended() -> None:
    with Prepared(["json"]) as prepared:
        process = prepared._process
    assert process.returncode is not None


def test_a_started_command_is_left_alone() -> None:
    with Prepared([]) as prepared:
        command = prepared.start(["--version"])
    stdout, _ = command.communicate(timeout=60)
    assert stdout.startswith("cellkin, version ")
    assert command.returncode == 0


def test_a_process_that_died_says_so_by_its_exit_code() -> None:
    with Prepared(["json"]) as prepared:
        prepared._process.kill()
        prepared._process.wait()
        with prepared.start(["--version"]) as command:
            command.communicate(timeout=60)
    assert command.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_before_the_arguments_prints_nothing(number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cellkin.cli.prepared", "json"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(1)
    os.kill(process.pid, number)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (-number, "", "")
