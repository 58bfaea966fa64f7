"""Cores and memory follow the quota of a container, wherever its control groups are mounted."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from cellkin.store import machine

_V2 = "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
_V1 = (
    "24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "31 24 0:28 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 24 0:30 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
_V1_NONE = 9223372036854771712


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 cores and 1 TiB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**28}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)


def made(root: Path, groups: str, mounts: str, limits: Mapping[str, object]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text("22 1 0:20 / / rw - overlay overlay rw\n" + mounts)
    for name, value in limits.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("100000 100000", 1), ("20000 100000", 1), ("250000 100000", 3), ("max 100000", 64)],
)
def test_version_2_in_a_namespace_of_its_own(tmp_path: Path, quota: str, cores: int) -> None:
    root = made(tmp_path, "0::/\n", _V2, {"cpu.max": quota, "memory.max": 2**30})
    assert machine.n_cores(root) == cores
    assert machine.memory_bytes(root) == 2**30


def test_the_least_of_a_group_and_those_around_it_counts(tmp_path: Path) -> None:
    limits = {
        "pods/cpu.max": "200000 100000", "pods/one/cpu.max": "400000 100000",
        "pods/memory.max": "max", "pods/one/memory.max": 2**33,
    }  # fmt: skip
    root = made(tmp_path, "0::/pods/one\n", _V2, limits)
    assert machine.n_cores(root) == 2
    assert machine.memory_bytes(root) == 2**33


@pytest.mark.parametrize("top", ["/", "/docker/abc"])
def test_version_1(tmp_path: Path, top: str) -> None:
    inside = "docker/abc/" if top == "/" else ""
    limits = {
        f"cpu,cpuacct/{inside}cpu.cfs_quota_us": 100_000,
        f"cpu,cpuacct/{inside}cpu.cfs_period_us": 100_000,
        f"memory/{inside}memory.limit_in_bytes": 2**31,
    }
    groups = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n"
    root = made(tmp_path, groups, _V1.format(top=top), limits)
    assert machine.n_cores(root) == 1
    assert machine.memory_bytes(root) == 2**31


def test_no_limit(tmp_path: Path) -> None:
    limits = {
        "cpu,cpuacct/cpu.cfs_quota_us": -1, "cpu,cpuacct/cpu.cfs_period_us": 100_000,
        "memory/memory.limit_in_bytes": _V1_NONE,
    }  # fmt: skip
    root = made(tmp_path / "v1", "4:memory:/\n3:cpu:/\n", _V1.format(top="/"), limits)
    for none in (root, tmp_path / "nowhere"):
        assert machine.n_cores(none) == 64
        assert machine.memory_bytes(none) == 2**40


def test_what_the_environment_says_stays() -> None:
    environment = {"OMP_NUM_THREADS": "7"}
    machine.limit_threads(2, environment)
    assert environment == {"OMP_NUM_THREADS": "7"}


def test_libraries_follow_the_quota_and_wait_asleep() -> None:
    """A process that starts in a container of one CPU, on a machine that has several."""
    started = """
import os
from cellkin.store import machine
machine._groups = lambda root, controller: [controller]
machine._quota = lambda group: 1.0
machine.limit_threads(machine.n_cores())
import faiss, numpy, pyarrow
from threadpoolctl import threadpool_info
print(os.environ["OMP_WAIT_POLICY"], pyarrow.cpu_count(), faiss.omp_get_max_threads())
print({pool["num_threads"] for pool in threadpool_info()})
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-c", started],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["PASSIVE 1 1", "{1}"]
