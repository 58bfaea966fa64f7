"""Settings that do not go together are refused, and so are names that are none."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cellkin.server.commands import _settings
from cellkin.server.settings import ServerSettings, check_environment
from cellkin.store import machine
from cellkin.wire.errors import InvalidArgumentError

TLS = {"tls_cert": Path("c"), "tls_key": Path("k")}
TOKENS = {"tokens": Path("t")}
BEYOND = {"listen": "0.0.0.0:50051"}
PLAIN = {"plaintext": True}


def settings(**given: Any) -> ServerSettings:
    return ServerSettings(store="s", **given)


@pytest.mark.parametrize(
    ("given", "who"),
    [
        ({}, "local"),
        ({"listen": "[::1]:0"}, "local"),
        (PLAIN, "none"),
        (BEYOND | PLAIN, "none"),
        (BEYOND | TLS, "none"),
        (BEYOND | TLS | {"admin": "local"}, "local"),
        (TOKENS, "token"),
        (TOKENS | {"admin": "none"}, "none"),
        ({"admin": "none"}, "none"),
    ],
)
def test_who_administers(given: dict[str, Any], who: str) -> None:
    assert settings(**given).administered_by == who


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (PLAIN | {"admin": "local"}, "behind a proxy every caller seems to be on this machine"),
        (BEYOND | PLAIN | {"admin": "local"}, "behind a proxy"),
        (TOKENS | {"admin": "local"}, "every request needs a token"),
        ({"admin": "token"}, "give --tokens"),
        (BEYOND, r"listen 0\.0\.0\.0:50051 can be reached from other machines"),
        ({"metrics": "0.0.0.0:9464"}, r"metrics 0\.0\.0\.0:9464 can be reached"),
        ({"metrics": "9464"}, "give HOST:PORT"),
    ],
)
def test_what_does_not_go_together(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        settings(**given)


def test_metrics_beyond_this_machine_are_encrypted_or_somebody_else_does_it() -> None:
    settings(metrics="0.0.0.0:9464", **TLS)
    settings(metrics="0.0.0.0:9464", **PLAIN)
    settings(metrics="localhost:9464")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CELLKIN_SERVER__THREAD", r"did you mean CELLKIN_SERVER__THREADS\?"),
        ("cellkin_server__streems", r"did you mean CELLKIN_SERVER__STREAMS\?"),
        ("CELLKIN_SERVER__XQJ", "--print-config"),
    ],
)
def test_a_variable_that_is_no_setting(name: str, meant: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{name} is no setting of the server; {meant}"):
        check_environment(["PATH", name])


def test_variables_that_are_settings_or_none_of_ours() -> None:
    check_environment(["CELLKIN_SERVER__THREADS", "cellkin_server__queue", "CELLKIN_TOKEN", "PATH"])


def test_cores_are_those_of_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert settings().cores > 1
    monkeypatch.setattr(machine, "_groups", lambda root, controller: [controller])
    monkeypatch.setattr(machine, "_quota", lambda group: 1.0)
    assert settings().cores == 1


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("CELLKIN_SERVER__INDEXES", "pancreas", "a list is JSON"),
        ("CELLKIN_SERVER__QUEUES", "7", r"did you mean CELLKIN_SERVER__QUEUE\?"),
        ("CELLKIN_SERVER__QUEUE", "many", "setting queue is 'many'"),
        ("CELLKIN_SERVER__ADMIN", "anybody", "setting admin is 'anybody'"),
    ],
)
def test_the_command_says_what_is_wrong_with_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidArgumentError, match=why):
        _settings({"store": "s"})
