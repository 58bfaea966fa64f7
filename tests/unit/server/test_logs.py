"""What is logged at the start and of a request, and that libraries write as we do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from cellkin.server.calls import Call
from cellkin.server.logs import audit_handler, log_request, log_start
from cellkin.server.settings import ServerSettings
from cellkin.store.machine import n_cores
from cellkin.wire.errors import InputFileError

LOGGED = """
import logging, warnings
import structlog
from cellkin.server.logs import configure_logs

configure_logs(as_json=True)
structlog.get_logger("cellkin.audit").info("admin request", client="ops")
logging.getLogger("cellkin.store").info("gc began")
logging.getLogger("grpc").info("a detail")
logging.getLogger("grpc").warning("call %s failed", 7)
warnings.warn("old")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("concurrent").exception("no answer")
configure_logs(as_json=False)
structlog.get_logger("cellkin.audit").info("admin request", client="ops")
"""


def test_libraries_log_in_the_form_of_the_server_for_programs_and_for_people() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGGED], capture_output=True, text=True, check=True
    )
    assert not done.stdout
    *lines, last = done.stderr.splitlines()
    events = [json.loads(line) for line in lines]
    assert [
        (event["logger"], event["level"], event["event"].split(":")[0]) for event in events
    ] == [
        ("cellkin.audit", "info", "admin request"),
        ("cellkin.store", "info", "gc began"),
        ("grpc", "warning", "call 7 failed"),
        ("py.warnings", "warning", "<string>"),
        ("concurrent", "error", "no answer"),
    ]
    assert len({event["pid"] for event in events}) == 1
    assert all(event["timestamp"] for event in events)
    assert "ZeroDivisionError" in events[-1]["exception"]
    assert "admin request" in last
    assert "[cellkin.audit]" in last
    assert "client=ops" in last


def test_the_start_says_what_differs_from_the_defaults_and_no_password() -> None:
    settings = ServerSettings(
        store="s", queue=7, threads=64, admin="none", traces="http://me:s3cret@10.0.0.1:4318/v1"
    )
    with capture_logs() as logs:
        log_start(settings)
    (line,) = logs
    assert line["settings"] == {
        "store": "s", "queue": 7, "admin": "none", "traces": "http://***@10.0.0.1:4318/v1",
    }  # fmt: skip
    assert (line["tls"], line["tokens"], line["admin"], line["metrics"]) == (
        "none", "none", "none", "none",
    )  # fmt: skip
    assert line["cores"] == n_cores()
    assert line["version"]


def test_a_request() -> None:
    call = Call("/cellkin.v1.GeneService/SearchGenes", 0.0, client="ana", versions=["genes@1"])
    call.id, call.n_cells = "7", 40
    with capture_logs() as logs:
        log_request(call, "OK", 0.01234567)
    assert logs == [
        {
            "event": "request", "log_level": "info", "id": "7", "client": "ana", "code": "OK",
            "n_cells": 40,
            "method": "/cellkin.v1.GeneService/SearchGenes", "seconds": 0.012346,
            "versions": ["genes@1"],
        }
    ]  # fmt: skip


AUDITED = """
import sys
from pathlib import Path
import structlog
from cellkin.server.logs import configure_logs

path = Path(sys.argv[1])
configure_logs(as_json=False, audit=path)
audit, other = structlog.get_logger("cellkin.audit"), structlog.get_logger("cellkin.server")
audit.info("admin request", client="ops", id="1")
other.info("ready")
path.rename(path.with_suffix(".old"))
audit.info("admin request", client="ops", id="2")
"""


def test_the_audit_is_a_file_of_its_own_that_may_be_moved(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, path], capture_output=True, text=True, check=True
    )
    (old,) = map(json.loads, path.with_suffix(".old").read_text().splitlines())
    (new,) = map(json.loads, path.read_text().splitlines())
    assert (old["id"], new["id"], new["client"]) == ("1", "2", "ops")
    assert new["event"] == "admin request"
    assert new["timestamp"]
    assert done.stderr.count("admin request") == 2


def test_an_audit_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"audit log .* cannot be written"):
        audit_handler(tmp_path / "none" / "audit.jsonl", [])
