"""SIGKILL at any moment: a version is whole or not there, and a resumed run ends the same."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from cellkin.store.catalog import Kind
from cellkin.store.maintenance import damage
from cellkin.store.store import Store

pytestmark = pytest.mark.integration
KILLS = 20

# A model that takes its time: the run is cut off between its fragments and within them.
EMBED = """
import hashlib, sys, time
import numpy as np
from cellkin.indexer.embeddings import job, parts
from cellkin.indexer.models.contract import ModelInfo, TokenCounts
from cellkin.space.vectors import unit_rows
from cellkin.store.store import Store
from cellkin.wire.names import VersionName

class Model:
    info = ModelInfo("slow", "1", 16, {"window": 1})
    def count(self, texts):
        return TokenCounts(len(texts), len(texts), 0)
    def embed(self, texts):
        time.sleep(0.02)
        seeds = [int.from_bytes(hashlib.sha256(t.encode()).digest()[:8]) for t in texts]
        drawn = [np.random.default_rng(s).standard_normal(16) for s in seeds]
        return unit_rows(np.array(drawn, np.float32))

job.load_model = lambda spec, **_: Model()
parts._FRAGMENT_CHARACTERS = 200
print("begun", flush=True)
job.embed_genes(Store.open(sys.argv[1]), "slow", VersionName("genes"))
"""


def start(store: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", EMBED, str(store)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def end(process: "subprocess.Popen[str]") -> int:
    code = process.wait(timeout=120)
    assert process.stdout is not None
    process.stdout.close()
    return code


def test_runs_that_were_killed_and_resumed_equal_one_that_was_not(
    tmp_path: Path, make_corpus: Callable[[], pa.Table]
) -> None:
    whole = tmp_path / "whole"
    Store.create(str(whole)).publish_corpus("genes", make_corpus(), {})
    cut = Path(shutil.copytree(whole, tmp_path / "cut"))
    began = time.monotonic()
    assert end(start(whole)) == 0
    run_s = time.monotonic() - began
    moments = random.Random(1)
    n_killed = 0
    for _ in range(KILLS):
        process = start(cut)
        time.sleep(moments.uniform(0, run_s / 3))
        process.send_signal(signal.SIGKILL)
        if end(process) == -signal.SIGKILL:
            n_killed += 1
        else:  # the machine is less busy than it was when the run was timed
            run_s *= 0.7
        store = Store.open(str(cut))
        assert [damage(store, entry) for entry in store.catalog.entries()] == [""] * len(
            store.catalog.entries()
        )
    assert n_killed >= KILLS // 4, "most runs ended before they were killed"
    assert end(start(cut)) == 0
    vectors = []
    for path in (whole, cut):
        store = Store.open(str(path))
        entries = store.catalog.entries(Kind.EMBEDDING)
        vectors.append({entry.digest for entry in entries})
        embedding = store.embedding(entries[-1])
        vectors[-1].add(embedding.vectors.tobytes().hex())
        vectors[-1].add(str(embedding.gene_ids.tolist()))
    assert vectors[0] == vectors[1]
