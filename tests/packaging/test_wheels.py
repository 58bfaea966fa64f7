"""Wheels and source archives that are built twice are equal, wherever and whenever.

Needs a package index, so it is run by hand: make test-wheels
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
UV = [str(Path(sys.executable).with_name("uv")), "--no-config", "-q"]


def built(source: Path, out: Path) -> dict[str, str]:
    """Build both distributions; return the SHA-256 of each file."""
    subprocess.run([*UV, "build", "--all-packages", "-o", out], cwd=source, check=True)
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.iterdir())
        if path.suffix in (".whl", ".gz")
    }


def test_what_is_built_twice_is_equal(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "pyproject.toml", "README.md", "LICENSE", "store", "indexer",
         "server", "clients"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    names = [name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]
    for name in names:
        target = tmp_path / "one" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    # Another place, and the files are of another time.
    shutil.copytree(tmp_path / "one", tmp_path / "another/place", copy_function=shutil.copyfile)
    first = built(tmp_path / "one", tmp_path / "dist-1")
    second = built(tmp_path / "another/place", tmp_path / "dist-2")
    assert len(first) == 4
    assert first == second
