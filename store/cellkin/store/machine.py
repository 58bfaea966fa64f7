"""The cores and memory available to this process, which may be limited by a container.

A container sees all cores of its machine, but once its threads together have used up its quota, it
is paused for the rest of the period, by default a tenth of a second. More threads than the quota
are slower than exactly as many, especially if they wait by spinning.
"""

import math
import os
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def n_cores(root: Path = _ROOT) -> int:
    """Return the available cores: the CPU affinity or the cgroup quota rounded up, if less.

    Parameters
    ----------
    root
        Root of the file system in which control groups are looked up.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    n = len(affinity(0)) if affinity else os.cpu_count() or 1
    quotas = [quota for group in _groups(root, "cpu") if (quota := _quota(group)) is not None]
    return min([n, *(max(1, math.ceil(quota)) for quota in quotas)])


def memory_bytes(root: Path = _ROOT) -> int:
    """Return the available memory in bytes: that of the machine or its cgroup limit, if less.

    Parameters
    ----------
    root
        Root of the file system in which control groups are looked up.
    """
    n = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for group in _groups(root, "memory"):
        name = "memory.max" if group.unified else "memory.limit_in_bytes"
        limit = _read(group.path / name)
        # Version 1 expresses "no limit" by a number larger than any memory.
        n = min(n, int(limit)) if limit.isdecimal() else n
    return n


def limit_threads(n: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Limit the threads of libraries loaded later, unless the environment already does.

    Sets ``OMP_NUM_THREADS``, which OpenMP (used by FAISS, torch and scikit-learn), OpenBLAS, MKL
    and Arrow read. Call it when a process starts: libraries read it only when loaded.

    Parameters
    ----------
    n
        Threads of each library.
    environment
        The environment to change.
    """
    environment.setdefault("OMP_NUM_THREADS", str(n))


def n_threads(environment: Mapping[str, str] = os.environ) -> int:
    """Return the threads of a library that does not read what `limit_threads` sets.

    Parameters
    ----------
    environment
        With ``OMP_NUM_THREADS``; the available cores are used where it is no number.
    """
    stated = environment.get("OMP_NUM_THREADS", "")
    return max(1, int(stated)) if stated.isdecimal() else n_cores()


@dataclass(frozen=True)
class _Group:
    """A control group.

    Parameters
    ----------
    path
        Folder of the group.
    unified
        Whether it is a version 2 group.
    """

    path: Path
    unified: bool


def _groups(root: Path, controller: str) -> Iterator[_Group]:
    """Yield the groups whose limits apply to this process: its own and all their parents."""
    own = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):  # version 2 names none
            own[name] = PurePosixPath(path)
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        unified = kind == "cgroup2"
        if not unified and (kind != "cgroup" or controller not in options.split(",")):
            continue
        top, folder = map(PurePosixPath, mount.split(" ")[3:5])
        place = root / folder.relative_to("/")
        yield _Group(place, unified)
        group = own.get("" if unified else controller, PurePosixPath("/"))
        # Inside a container, the group may lie outside of what is mounted.
        if group.is_relative_to(top) and ".." not in group.parts:
            for part in group.relative_to(top).parts:
                place /= part
                yield _Group(place, unified)


def _quota(group: _Group) -> float | None:
    """Return the cores a group may use on average; None if unlimited."""
    if group.unified:
        quota, _, period = _read(group.path / "cpu.max").partition(" ")
    else:
        quota = _read(group.path / "cpu.cfs_quota_us")
        period = _read(group.path / "cpu.cfs_period_us")
    # "max" of version 2, -1 of version 1, or no such file: no quota.
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
