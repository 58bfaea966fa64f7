"""Environments of exact versions for formats.py, made by uv and kept."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from formats_forms import Environment

_ROOT = Path(__file__).resolve().parents[1]
CLIENT = ("-e", f"{_ROOT / 'clients'}[anndata]", "-c", str(_ROOT / ".ci/constraints.txt"))
"""What a client's environment has beside its own packages: the working tree's client."""


class InstallError(Exception):
    """An environment cannot be made here; the message says why."""


def make(
    name: str, wanted: Environment, folder: Path, beside: Sequence[str], say: Callable[[str], None]
) -> Path:
    """Return the interpreter of an environment, made unless it is there.

    Parameters
    ----------
    name
        What it is called.
    wanted
        Its Python and packages.
    folder
        Where environments are kept.
    beside
        What else is handed to ``uv pip install``.
    say
        Told what is made.

    Raises
    ------
    InstallError
        If there is no such Python, or a package cannot be installed.
    """
    place = folder / "".join(c if c.isalnum() or c in ".-" else "-" for c in name)
    python, ready = place / "bin/python", place / "installed"
    arguments = [*wanted.packages, *beside]
    listed = "\n".join([wanted.python, *arguments, *wanted.without])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making the same
        if ready.is_file() and ready.read_text() == listed:
            return python
        interpreter = _find_python(wanted.python)
        say(f"installing {name}")
        shutil.rmtree(place, ignore_errors=True)
        _uv("venv", "-p", str(interpreter), str(place))
        excluded = place / "excluded"
        excluded.write_text("\n".join(wanted.without))
        _uv("pip", "install", "-p", str(python), "--excludes", str(excluded), *arguments)
        ready.write_text(listed)
    return python


def _find_python(version: str) -> Path:
    """Return an interpreter of the machine: one of the path, or of pyenv."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = shutil.which(f"python{version}")
    for path in [*([Path(found)] if found else []), *versions.glob(f"{version}.*/bin/python")]:
        # One of pyenv's own commands may be there and do nothing but say so.
        if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    raise InstallError(f"no Python {version} on this machine")


def _uv(*arguments: str) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        raise InstallError("no uv; pip install uv")
    done = subprocess.run([uv, "--no-config", "-q", *arguments], capture_output=True, text=True, check=False)  # fmt: skip # noqa: E501
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise InstallError(" ".join(lines[-3:])[:300] or f"uv exited with {done.returncode}")
