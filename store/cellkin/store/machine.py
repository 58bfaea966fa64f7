"""The cores and the memory this process may use: those of the machine, or less in a container.

A container sees all cores of its machine, and is stopped for the rest of every tenth of a second
once its threads together have used up its quota. More threads than the quota are slower than as
many, most of all where they wait by spinning.
"""

import math
import os
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def n_cores(root: Path = _ROOT) -> int:
    """Return the cores this process may use: of its affinity, or its cgroup's quota rounded up.

    Parameters
    ----------
    root
        Root of the file system that tells of control groups.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    n = len(affinity(0)) if affinity else os.cpu_count() or 1
    quotas = [quota for group in _groups(root, "cpu") if (quota := _quota(group)) is not None]
    return min([n, *(max(1, math.ceil(quota)) for quota in quotas)])


def memory_bytes(root: Path = _ROOT) -> int:
    """Return the memory this process may use: the machine's, or the limit of its cgroup.

    Parameters
    ----------
    root
        Root of the file system that tells of control groups.
    """
    n = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for group in _groups(root, "memory"):
        name = "memory.max" if group.unified else "memory.limit_in_bytes"
        limit = _read(group.path / name)
        # Version 1 says "none" by a number larger than any memory.
        n = min(n, int(limit)) if limit.isdecimal() else n
    return n


def limit_threads(n: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let libraries that are loaded later use so many threads; the environment may say otherwise.

    OpenMP, by which FAISS, torch and scikit-learn work, reads the number, and so do OpenBLAS, MKL
    and Arrow. To be called when a process starts: loaded libraries do not look again.

    Parameters
    ----------
    n
        Threads of each.
    environment
        Where they look.
    """
    environment.setdefault("OMP_NUM_THREADS", str(n))


@dataclass(frozen=True)
class _Group:
    """A control group.

    Parameters
    ----------
    path
        Its folder.
    unified
        Whether it is of version 2.
    """

    path: Path
    unified: bool


def _groups(root: Path, controller: str) -> Iterator[_Group]:
    """Yield the groups whose limits this process is under, its own and all around it."""
    own = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):  # of version 2 none is named
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
        # Seen from inside of a container, a group may lie outside of what is mounted there.
        if group.is_relative_to(top) and ".." not in group.parts:
            for part in group.relative_to(top).parts:
                place /= part
                yield _Group(place, unified)


def _quota(group: _Group) -> float | None:
    """Return the cores a group may use on average, None for all."""
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
