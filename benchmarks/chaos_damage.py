"""Damage a store in every way there is and see that no answer changes silently.

    python benchmarks/chaos_damage.py [--trials 20] [--seed 1] [--keep FILE]

A store with a corpus, an embedding, two versions of an index and a third that is retracted, and an
alias. Every file is cut to half, deleted, changed in one bit, and replaced by an older or by a
sibling file; tables and the journal are deleted or replaced by older ones. After each, everything
is verified and listed and a server is started and asked. Its answers are compared with those of the
undamaged store. Runs of trials are made in a process of their own, which may crash.

Of an older version, `PYTHONPATH=store:indexer:server:clients/python:clients/cli` of its folder.
"""

import argparse
import contextlib
import io
import json
import os
import random
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_LIMIT_S = 90
_FIRST_S = 900
"""Of the first trial of a process, which imports and compiles."""
_FLIPS = 2
"""Of every file."""
_PARTS = (
    (r"^journal/", "journal"),
    (r"^catalog\.lance/data/", "catalog data"),
    (r"^catalog\.lance/_versions/.*\.manifest$", "catalog manifests"),
    (r"^catalog-marks\.lance/data/", "marks data"),
    (r"^catalog-marks\.lance/_versions/.*\.manifest$", "marks manifests"),
    (r"^corpus-.*\.lance/data/", "corpus data"),
    (r"^corpus-.*\.lance/_versions/.*\.manifest$", "corpus manifests"),
    (r"^embedding-.*\.lance/data/", "embedding data"),
    (r"^embedding-.*\.lance/_versions/.*\.manifest$", "embedding manifests"),
    (r"^cells-.*\.lance/data/", "cells data"),
    (r"^cells-.*\.lance/_versions/.*\.manifest$", "cells manifests"),
    (r"^indexes/", "index files"),
)
_COLUMNS = (
    "trials", "verify refuses", "no effect", "another answer", "verify whole, another answer",
    "verify whole, answer refused", "verify whole, other list", "CLI traceback", "serve traceback",
    "log traceback", "INTERNAL", "crash or hang",
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One damage: ``how`` to ``path``, relative to the store, by ``source`` or a seed."""

    path: str
    how: str
    source: str = ""
    seed: int = 0

    @property
    def part(self) -> str:
        """What of a store it meets."""
        if self.how.startswith("none"):
            return "nothing"
        if self.how.startswith("all"):
            return "whole tables, journal"
        found = (part for pattern, part in _PARTS if re.search(pattern, self.path))
        return next(found, "hints, tags, transactions, staging")


@dataclass
class Outcome:
    """What was seen after a damage."""

    verified: dict[str, str] = field(default_factory=dict)
    listed: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    cli_tracebacks: list[str] = field(default_factory=list)
    serve: str = ""
    log_tracebacks: int = 0
    crashed: str = ""


def trials(world: Any, stages: tuple[str, ...], seed: int) -> list[Trial]:
    """Return the damages, in an order that is drawn by the seed; the first is none at all."""
    from chaos_world import files_of

    rng = random.Random(seed)
    whole = world.stage(stages[-1])
    files = list(files_of(whole))
    made: list[Trial] = []
    for path in files:
        name = path.as_posix()
        made.append(Trial(name, "delete"))
        content = (whole / path).read_bytes()
        if not content:
            continue
        made.append(Trial(name, "half"))
        made += [Trial(name, "flip", seed=rng.randrange(1 << 30)) for _ in range(_FLIPS)]
        older = [world.stage(stage) / path for stage in reversed(stages[:-1])]
        source = next((p for p in older if p.is_file() and p.read_bytes() != content), None)
        if source is not None:
            made.append(Trial(name, "older", str(source)))
        siblings = [
            whole / other for other in files
            if other != path and other.suffix == path.suffix and other.name != path.name
            and other.parent == path.parent and (whole / other).read_bytes() != content
        ]  # fmt: skip
        siblings += [
            whole / other for other in files
            if other.name == path.name and other.parent.parent == path.parent.parent
            and other != path and (whole / other).read_bytes() != content
        ]  # fmt: skip
        if siblings:
            made.append(Trial(name, "sibling", str(rng.choice(siblings))))
    for folder in sorted(p.name for p in whole.iterdir()):
        made.append(Trial(folder, "all deleted"))
        made += [
            Trial(folder, "all older", str(world.stage(stage) / folder))
            for stage in stages[:-1]
            if (world.stage(stage) / folder).exists()
        ]
    rng.shuffle(made)
    return [Trial("", "none"), *made]


def damage(store: Path, trial: Trial) -> None:
    """Damage a store."""
    path = store / trial.path
    if trial.how == "none":
        return
    if trial.how.startswith("all"):
        shutil.rmtree(path)
        if trial.source:
            shutil.copytree(trial.source, path)
    elif trial.how == "delete":
        path.unlink()
    elif trial.how in ("older", "sibling"):
        path.write_bytes(Path(trial.source).read_bytes())
    else:
        content = bytearray(path.read_bytes())
        if trial.how == "half":
            content = content[: len(content) // 2]
        else:
            bit = random.Random(trial.seed).randrange(8 * len(content))
            content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)


def command(store: Path, *words: str) -> tuple[str, str]:
    """Run a command in this process; return its code and what it printed, or the traceback."""
    from cellkin.cli.main import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = str(main([*words, "--store", str(store)]))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return "traceback", f"{' '.join(words)}: {traceback.format_exc()[-600:]}"
    return code, out.getvalue().replace(str(store), "STORE")


def see(store: Path) -> Outcome:
    """Verify, list, serve and ask."""
    import click
    from chaos_world import answers

    from cellkin.cli.main import cellkin
    from cellkin.client import Client
    from cellkin.server.process import running
    from cellkin.server.settings import ServerSettings
    from cellkin.wire.errors import CellkinError

    seen = Outcome()
    verify: list[tuple[str, ...]] = [
        (group, "verify") for group in ("indexes", "corpora", "embeddings")
    ]
    context = click.Context(cellkin)
    if "store" in cellkin.list_commands(context):
        verify.append(("store", "verify"))
    looks: list[tuple[str, ...]] = [
        (group, "list") for group in ("indexes", "corpora", "embeddings")
    ]
    looks += [("indexes", "show", "trio@stable"), ("genes", "show", "GENE8")]
    for words, kept in [(w, seen.verified) for w in verify] + [(w, seen.listed) for w in looks]:
        code, text = command(store, *words)
        if code == "traceback":
            seen.cli_tracebacks.append(text)
        kept[" ".join(words)] = code if kept is seen.verified or code != "0" else f"0 {text}"
    try:
        settings = ServerSettings(store=str(store), listen="127.0.0.1:0", grace_s=0.2)
        with running(settings) as address, Client(address, attempts=1, timeout_s=60) as client:
            seen.answers = answers(client)
            seen.serve = "answers"
    except CellkinError as error:
        seen.serve = f"refused: {error.code}"
    except BaseException:  # noqa: BLE001
        seen.serve = f"traceback: {traceback.format_exc()[-600:]}"
    return seen


def work(world_folder: Path, scratch: Path) -> None:
    """Make the trials that come as lines of JSON; print what was seen, a line each."""
    from chaos_world import STAGES, World

    world = World(world_folder)
    out = os.fdopen(os.dup(1), "w")
    log = scratch / "log"
    for number, line in enumerate(sys.stdin):
        trial = Trial(**json.loads(line))
        store = scratch / f"store-{os.getpid()}-{number}"
        shutil.copytree(world.stage(STAGES[-1]), store)
        damage(store, trial)
        with log.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        seen = see(store)
        sys.stdout.flush()
        seen.log_tracebacks = log.read_text(errors="replace").count("Traceback (most recent")
        shutil.rmtree(store)
        print(json.dumps(asdict(seen)), file=out, flush=True)


class Worker:
    """A process that makes trials, begun again when it crashes or hangs."""

    def __init__(self, world: Path, scratch: Path) -> None:
        self._words = [sys.executable, __file__, "--worker", str(world), str(scratch)]
        self._scratch = scratch
        self._process: subprocess.Popen[str] | None = None
        self._slowest_s = 0.0

    def see(self, trial: Trial) -> Outcome:
        """Make a trial."""
        limit_s = max(_LIMIT_S, 5 * self._slowest_s)
        if self._process is None:
            limit_s = _FIRST_S
            # What was noted of files that are whole is not to be of another store.
            cache = {"XDG_CACHE_HOME": tempfile.mkdtemp(dir=self._scratch)}
            self._process = subprocess.Popen(
                self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True, env={**os.environ, **cache},
            )  # fmt: skip
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        line, began = "", time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(asdict(trial)) + "\n")
            process.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                line = process.stdout.readline() if selector.select(limit_s) else "hang"
        if line in ("", "hang"):
            process.kill()
            self._process = None
            return Outcome(crashed=line or f"exit {process.wait()}")
        self._slowest_s = max(self._slowest_s, time.monotonic() - began)
        return Outcome(**json.loads(line))

    def end(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def judged(seen: Outcome, whole: Outcome) -> dict[str, bool]:
    """Return which columns of the table a trial counts in."""
    says_whole = all(code == "0" for code in seen.verified.values()) and bool(seen.verified)
    other = [
        name for name, answer in seen.answers.items()
        if answer != whole.answers[name] and not answer.startswith("refused")
    ]  # fmt: skip
    refused = seen.serve.startswith("refused") or any(
        answer.startswith("refused") and answer != whole.answers[name]
        for name, answer in seen.answers.items()
    )
    lists = any(
        text.startswith("0") and text != whole.listed[name] for name, text in seen.listed.items()
    )
    same = (seen.verified, seen.listed, seen.answers) == (
        whole.verified, whole.listed, whole.answers
    )  # fmt: skip
    return {
        "trials": True,
        "verify refuses": not says_whole and not seen.crashed,
        "no effect": same and says_whole,
        "another answer": bool(other),
        "verify whole, another answer": bool(other) and says_whole,
        "verify whole, answer refused": refused and says_whole,
        "verify whole, other list": lists and says_whole,
        "CLI traceback": bool(seen.cli_tracebacks),
        "serve traceback": seen.serve.startswith("traceback"),
        "log traceback": seen.log_tracebacks > 0,
        "INTERNAL": any("INTERNAL" in a for a in [*seen.answers.values(), seen.serve]),
        "crash or hang": bool(seen.crashed),
    }


def table(rows: list[tuple[str, dict[str, bool]]]) -> Iterator[str]:
    """Yield the lines of the table: parts of a store, and how many trials ended how."""
    counts: dict[str, Counter[str]] = {}
    for part, verdict in rows:
        for name in (part, "all"):
            counts.setdefault(name, Counter()).update(c for c, yes in verdict.items() if yes)
    yield f"| part | {' | '.join(_COLUMNS)} |"
    yield "| --- " * (len(_COLUMNS) + 1) + "|"
    order = [part for _, part in _PARTS]
    for part in sorted(counts, key=lambda p: (p == "all", order.index(p) if p in order else 99, p)):
        yield f"| {part} | {' | '.join(str(counts[part][c]) for c in _COLUMNS)} |"


_FAULTS = _COLUMNS[3:]


def main() -> int:
    """Run the trials and return 1 where one ended as none should."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=0, help="at most; all of them by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--match", default="", help="only of paths with these words")
    parser.add_argument("--world", type=Path, help="where the store is made, or was")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="what was seen, JSON lines")
    arguments = parser.parse_args()
    from chaos_report import closing_line
    from chaos_world import STAGES, World

    began, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="cellkin-chaos-") as name:
        scratch = Path(name)
        folder = arguments.world or scratch / "world"
        made = trials(World(folder), STAGES, arguments.seed)
        made = [t for t in made if t.how == "none" or arguments.match in t.path]
        made = made[: arguments.trials + 1] if arguments.trials else made
        kept = arguments.keep.open("w") if arguments.keep else io.StringIO()
        worker = Worker(folder, scratch)
        whole = worker.see(made[0])
        assert not judged(worker.see(made[0]), whole)["verify refuses"], "the store is not whole"
        for trial in made:
            seen = worker.see(trial)
            verdict = judged(seen, whole)
            rows.append((trial.part, verdict))
            line = {**asdict(trial), "columns": [c for c, yes in verdict.items() if yes]}
            print(json.dumps({**line, "seen": asdict(seen)}), file=kept, flush=True)
            if faults := [c for c in _FAULTS if verdict[c]]:
                print(f"{trial.how} {trial.path}: {', '.join(faults)}", flush=True)
        worker.end()
    print("\n".join(table(rows)))
    print(f"{len(rows)} trials in {time.monotonic() - began:.0f} s; the first is no damage")
    n_wrong = sum(any(verdict[c] for c in _FAULTS) for _, verdict in rows)
    print(closing_line(len(rows) - 1, n_wrong))
    return int(n_wrong > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(main())
