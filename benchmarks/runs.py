"""What the runners share: the commit and machine of a run, and where its results are kept."""

import json
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report import installed_version, machine

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".bench"
"""Results, one file a run; git ignores it."""
_PACKAGES = ("cellkin", "numpy", "scipy", "faiss-cpu", "lancedb", "grpcio")


def commit_of(tree: Path) -> str:
    """Return the short id of a tree's commit, with a ``+`` if files were changed."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(tree), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if git("diff", "HEAD") else "")


def about(tree: Path = ROOT) -> dict[str, Any]:
    """Return what a run was made with: commit, time, machine, versions."""
    found = {package: known for package in _PACKAGES if (known := installed_version(package))}
    return {
        "commit": commit_of(tree),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "system": platform.platform(),
        "machine": machine()[0],
        "versions": {"python": platform.python_version(), **found},
    }


def keep(what: str, run: dict[str, Any]) -> Path:
    """Write the results of a run to a file of its own, and return its path."""
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"{what}-{run['at'].replace(':', '')}-{run['commit']}.json"
    path.write_text(json.dumps(run, indent=1) + "\n")
    return path


def heading(run: dict[str, Any]) -> str:
    """Return lines that name commit, machine and versions."""
    versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
    return f"commit {run['commit']}, {run['at']}\n{run['machine']}\n{versions}"


def script(name: str, words: Sequence[str], timeout_s: float) -> tuple[int, str]:
    """Run a script of this folder; return its exit code and output, which is shown as it comes.

    The code is -9 if it was stopped for its time.
    """
    command = [sys.executable, "-u", str(Path(__file__).with_name(name)), *words]
    return run_shown(command, timeout_s)


def run_shown(
    command: Sequence[str], timeout_s: float, env: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run a command, show its output as it comes, and return its exit code and output."""
    lines = list[str]()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as process:
        assert process.stdout is not None
        timer = threading.Timer(timeout_s, process.kill)
        timer.start()
        for line in process.stdout:
            print(f"  {line}", end="", flush=True)
            lines.append(line)
        timer.cancel()
    return process.returncode, "".join(lines)
