"""Interrupt every command that writes: by SIGKILL, or by a disk that takes no more.

    python benchmarks/chaos_commands.py [--fault kill|full|disk] [--trials 52] [--seed 1]

The commands run in turns, each on the same store. One is killed at a random moment of the time that
it takes (``kill``), may write no file over a random size (``full``), or has a file system with
little room (``disk``, which mounts one: for root on Linux). After it all versions that were there
are there and whole, whatever is new is whole, aliases and retractions stand, and the catalog has no
problems; a copy or a converted file is whole or is not there. A command without room says so. In
the end every command runs to its end on what the interrupted ones left.
"""

import argparse
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import anndata
import numpy as np
from chaos_fork import Fork
from chaos_report import closing_line, report
from chaos_world import N_GENES, STAGES, World, cells

from cellkin.store.catalog import Entry, Kind
from cellkin.store.maintenance import damage
from cellkin.store.row_digests import ROW_DIGESTS
from cellkin.store.store import Store
from cellkin.wire.errors import CellkinError

_FAULTS = (
    "versions lost", "versions damaged", "aliases moved", "retractions lost",
    "problems of the catalog", "copies not whole", "files not whole", "tracebacks",
    "refused without a reason", "commands that fail afterwards",
)  # fmt: skip
_LARGEST_BYTES = 300_000
"""A little more than the largest file that a command writes to this store."""
_MOST_LEFT_BYTES = 4_000_000
"""About what the largest command writes to this store."""
_DISK_BYTES = 512 * 2**20
_UNSHARED = "CELLKIN_CHAOS_UNSHARED"
_N_CELLS = 240
_SMALL = ("--workers", "1", "--recall", "0.8", "--index", "IVF8,Flat")


def run_command(words: list[str], limit: int) -> int:
    """Run a command; files may not exceed a size, -1 for any."""
    from cellkin.cli.main import main as cellkin

    if limit >= 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    return cellkin(words)


class Commands:
    """The store, what commands read and write, and the words of each command."""

    def __init__(self, scratch: Path) -> None:
        self._scratch, self.root = scratch, scratch / "store"
        shutil.copytree(World(scratch / "world", _N_CELLS).stage(STAGES[-1]), self.root)
        self._files()
        store = Store.open(str(self.root))
        self.first, self._second, _ = store.catalog.entries(Kind.INDEX, "trio")
        # To be merged with the first, in whose space it is.
        cells(_N_CELLS, 23).write_h5ad(scratch / "other.h5ad")
        words = [
            "cells",
            "index",
            f"{scratch}/other.h5ad",
            "--name",
            "other",
            "--label",
            "cell_type",
            "--like",
            self.first.full_name,
            *_SMALL,
            "--store",
            str(self.root),
        ]
        code, said = Fork(run_command, words, -1).end()
        assert code == 0, said
        self.run_whole("cells append")
        shutil.rmtree(scratch / "backup", ignore_errors=True)
        self.run_whole("store backup")

    def _files(self) -> None:
        cells(_N_CELLS, 21).write_h5ad(self._scratch / "reference.h5ad")
        cells(60, 22).write_h5ad(self._scratch / "more.h5ad")
        lines = ["\t".join(_COLUMNS)]
        for i in range(1, N_GENES + 1):
            filled = ["9606", str(i), f"GENE{i}", *["-"] * 5, f"gene number {i}", "protein-coding"]
            lines.append("\t".join([*filled, *["-"] * (len(_COLUMNS) - len(filled))]))
        (self._scratch / "gene_info").write_text("\n".join(lines) + "\n")
        genes = np.array([f"GENE{i}" for i in range(1, N_GENES + 1)])
        vectors = np.random.default_rng(0).normal(size=(N_GENES, 16)).astype(np.float32)
        np.savez(self._scratch / "vectors.npz", genes=genes, vectors=vectors)

    def words(self, rng: random.Random) -> dict[str, list[str]]:
        """Return the commands, some with random arguments."""
        here, at = self._scratch, ["--store", str(self.root)]
        either = rng.choice((self.first, self._second)).full_name
        second = self._second.full_name
        return {
            "genes import": ["genes", "import", "--gene-info", f"{here}/gene_info", *at,
                             "--name", "imported"],
            "genes embed": ["genes", "embed", "--model", f"random:24:{rng.randrange(10**6)}", *at],
            "genes load": ["genes", "load", f"{here}/vectors.npz", "--name", "loaded", *at],
            "cells index": ["cells", "index", f"{here}/reference.h5ad", "--name", "made", "--label",
                            "cell_type", "--embedding", "random-48-7", *_SMALL, *at],
            "cells append": ["cells", "append", self.first.full_name, f"{here}/more.h5ad",
                             "--label", "cell_type", "--batch", "donor", *at],
            "cells merge": ["cells", "merge", self.first.full_name, "other", "--name",
                            "merged", "--recall", "0.8", *at],
            "cells convert": ["cells", "convert", f"{here}/reference.h5ad", f"{here}/out.zarr"],
            "indexes alias": ["indexes", "alias", either, "next", *at],
            "indexes retract": ["indexes", "retract", second, "--reason", "a trial", "--force",
                                *at],
            "indexes unretract": ["indexes", "unretract", second, *at],
            "indexes prune": ["indexes", "prune", "made", "--keep", "1", *at],
            "indexes gc": ["indexes", "gc", "--older-than-h", "0", "--force", *at],
            "store backup": ["store", "backup", f"{here}/backup", *at],
            "store restore": ["store", "restore", f"{here}/backup", "--store", f"{here}/restored"],
            "store upgrade": ["store", "upgrade", *at],
        }  # fmt: skip

    @contextmanager
    def disk_full(self, rng: random.Random) -> Iterator[None]:
        """Leave little room on the disk of the store for the time of a ``with`` block."""
        left = int(_MOST_LEFT_BYTES ** rng.random())
        filler = self._scratch / "filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self._scratch).free - left)
        try:
            yield
        finally:
            filler.unlink()

    def prepare(self, name: str) -> None:
        """Make what the command is to work on."""
        if name == "cells convert":
            shutil.rmtree(self._scratch / "out.zarr", ignore_errors=True)
        elif name == "store restore":
            shutil.rmtree(self._scratch / "restored", ignore_errors=True)
        elif name == "store upgrade":
            # Indexes of an earlier release have no digests of their rows.
            kept = dict(self.first.manifest["files"])
            del kept[ROW_DIGESTS]
            manifest = {**self.first.manifest, "files": kept}
            catalog = Store.open(str(self.root)).catalog
            catalog.commit(Kind.INDEX, "old", self.first.digest, manifest)

    def run_whole(self, name: str) -> tuple[float, str]:
        """Run a command to its end; return its seconds and what it said if it failed."""
        self.prepare(name)
        began = time.monotonic()
        code, said = Fork(run_command, self.words(random.Random(0))[name], -1).end()
        return time.monotonic() - began, said[-1500:] if code else ""

    def copies(self) -> list[Path]:
        """Return the stores that commands copy to."""
        found = (self._scratch / "backup", self._scratch / "restored")
        return [place for place in found if place.exists()]

    def converted_is_whole(self) -> bool:
        """Return whether the converted file is not there, or has all cells."""
        place = self._scratch / "out.zarr"
        return not place.exists() or anndata.read_zarr(place).n_obs == _N_CELLS


_COLUMNS = (
    "#tax_id", "GeneID", "Symbol", "LocusTag", "Synonyms", "dbXrefs", "chromosome", "map_location",
    "description", "type_of_gene", "Symbol_from_nomenclature_authority",
    "Full_name_from_nomenclature_authority", "Nomenclature_status", "Other_designations",
    "Modification_date", "Feature_type",
)  # fmt: skip
_MAY_VANISH = {"indexes prune": "made", "store upgrade": "old"}
"""Commands that may take versions away, and the name of these."""


class Checks:
    """Compares the store with what it was before."""

    def __init__(self, commands: Commands, seen: Counter[str]) -> None:
        self._commands, self._seen = commands, seen
        store = Store.open(str(commands.root))
        self._retracted = store.catalog.entries(Kind.INDEX, "trio")[2]
        self._checked: set[str] = set()

    def fault(self, what: str, said: str) -> None:
        """Count something that should not be, and print it."""
        self._seen[what] += 1
        print(f"{what}: {said}", flush=True)

    def before(self) -> set[str]:
        """Return the versions that are there."""
        entries = Store.open(str(self._commands.root)).catalog.entries()
        return {f"{e.kind}/{e.full_name}" for e in entries}

    def after(self, name: str, before: set[str], every: bool = False) -> None:
        """Check the store, copies and files after a command was interrupted."""
        store = Store.open(str(self._commands.root))
        view = store.catalog.view()
        there = {f"{e.kind}/{e.full_name}": e for e in view.all_entries}
        for lost in before - set(there):
            if f"/{_MAY_VANISH.get(name)}@" not in lost:
                self.fault("versions lost", f"{name}: {lost}")
        for key, entry in there.items():
            if every or key not in self._checked:
                self._whole(store, entry, name)
                self._checked.add(key)
        stable = view.aliases[Kind.INDEX, "trio", "stable"]
        if stable != self._commands.first.version:
            self.fault("aliases moved", f"{name}: {stable}")
        if view.retraction(self._retracted) is None:
            self.fault("retractions lost", name)
        for problem in store.catalog.problems():
            # Tables may lag behind a journal whose writer was killed; the next write mends them.
            if "next write" not in problem and "brought up" not in problem:
                self.fault("problems of the catalog", f"{name}: {problem}")
        if name in ("store backup", "store restore"):
            self._copies(name)
        if name == "cells convert" and not self._commands.converted_is_whole():
            self.fault("files not whole", name)

    def _whole(self, store: Store, entry: Entry, name: str) -> None:
        lacks_digests = entry.kind is Kind.INDEX and ROW_DIGESTS not in entry.manifest["files"]
        if not lacks_digests and (wrong := damage(store, entry)):
            self.fault("versions damaged", f"{name}: {entry.full_name}: {wrong}")

    def _copies(self, name: str) -> None:
        for place in self._commands.copies():
            try:
                copy = Store.open(str(place))
                entries = copy.catalog.entries()
            except CellkinError:
                self._seen["copies that are no store yet"] += 1
                continue
            for entry in entries:
                if entry.name != "old" and (wrong := damage(copy, entry)):
                    self.fault("copies not whole", f"{name}: {entry.full_name}: {wrong}")


def trial(
    name: str, fault: str, takes_s: float, commands: Commands, rng: random.Random, checks: Checks
) -> str:
    """Interrupt one command; return how it ended."""
    words = commands.words(rng)[name]
    limit = int(_LARGEST_BYTES ** rng.random()) if fault == "full" else -1
    with commands.disk_full(rng) if fault == "disk" else nullcontext(""):
        process = Fork(run_command, words, limit)
        if fault == "kill":
            process.kill(rng.uniform(0, takes_s))
        code, said = process.end()
    if fault == "kill" and code < 0:
        return "killed"
    full = fault != "kill" and "disk is full" in said
    if "Traceback" in said or code not in (0, 2):
        checks.fault("tracebacks", f"{name}, exit {code}, no file over {limit}: {said[-1500:]}")
    elif code == 2 and not full and not _nothing_to_do(said):
        checks.fault("refused without a reason", f"{name}, no file over {limit}: {said[-500:]}")
    return "refused" if code else "ended"


def _nothing_to_do(errors: str) -> bool:
    """Return whether a command refused because an earlier one had done the same, or had not."""
    return any(
        words in errors
        for words in ("is not retracted", "was retracted", "no index 'made'", "already")
    )


@contextmanager
def scratch_folder(small_disk: bool) -> Iterator[Path]:
    """Make a folder, on a small disk of its own in memory if that is wanted and allowed."""
    own_mounts = ["unshare", "--mount"]
    if small_disk and not os.environ.pop(_UNSHARED, "") and _allowed([*own_mounts, "true"]):
        # Begun again with mounts that end with the process, however that ends.
        again = [*own_mounts, sys.executable, *sys.argv]
        os.execvpe("unshare", again, os.environ | {_UNSHARED: "yes"})
    with tempfile.TemporaryDirectory(prefix="cellkin-chaos-") as name:
        if not small_disk:
            yield Path(name)
            return
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "cellkin-chaos", name]
        if not _allowed(mount):
            print(closing_line(0, 0))
            raise SystemExit(f"skipped: no file system may be mounted: {' '.join(mount)}")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def _allowed(command: list[str]) -> bool:
    """Run a command of the system; return whether it is there and ends well."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def main() -> int:
    """Run the trials and return 1 where something went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fault", choices=("kill", "full", "disk"), default="kill")
    parser.add_argument("--trials", type=int, default=52)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng, seen = random.Random(arguments.seed), Counter[str]()
    with scratch_folder(arguments.fault == "disk") as folder:
        os.environ |= {"XDG_CACHE_HOME": f"{folder}/cache", "TMPDIR": str(folder)}
        commands = Commands(folder)
        checks = Checks(commands, seen)
        names = list(commands.words(rng))
        takes_s: dict[str, float] = {}
        for number in range(arguments.trials):
            name = names[number % len(names)]
            if name not in takes_s:
                takes_s[name], _ = commands.run_whole(name)
            commands.prepare(name)
            before = checks.before()
            ended = trial(name, arguments.fault, takes_s[name], commands, rng, checks)
            seen[f"{name}: {ended}"] += 1
            checks.after(name, before)
            print(f"{number + 1} {name}: {ended}", flush=True)
        for name in names[: arguments.trials]:
            _, errors = commands.run_whole(name)
            if errors and not _nothing_to_do(errors):
                checks.fault("commands that fail afterwards", f"{name}: {errors}")
        checks.after("", set(), every=True)
    return report(seen, _FAULTS, arguments.trials)


if __name__ == "__main__":
    sys.exit(main())
