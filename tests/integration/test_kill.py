"""SIGKILL at any moment: a version is whole or not there, and a resumed run ends the same."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from tests.integration.forking import Forks

from cellkin.store.catalog import Kind
from cellkin.store.maintenance import damage
from cellkin.store.store import Store

pytestmark = pytest.mark.integration
KILLS = 20

# A model that takes its time: the run is cut off between its fragments and within them.
SLOW_MODEL = """
import hashlib, time
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
"""
EMBED = """
job.embed_genes(Store.open(told["store"]), "slow", VersionName("genes"))
"""


def test_runs_that_were_killed_and_resumed_equal_one_that_was_not(
    tmp_path: Path, make_corpus: Callable[[], pa.Table]
) -> None:
    whole = tmp_path / "whole"
    Store.create(str(whole)).publish_corpus("genes", make_corpus(), {})
    cut = Path(shutil.copytree(whole, tmp_path / "cut"))
    forks = Forks(SLOW_MODEL, EMBED)

    def run(store: Path) -> int:
        forks.begin(store=str(store))
        return forks.end()

    began = time.monotonic()
    assert run(whole) == 0
    run_s = time.monotonic() - began
    moments = random.Random(1)
    n_killed = 0
    for _ in range(KILLS):
        child = forks.begin(store=str(cut))
        time.sleep(moments.uniform(0, run_s / 3))
        with suppress(ProcessLookupError):  # it was done already
            os.kill(child, signal.SIGKILL)
        if forks.end() == -signal.SIGKILL:
            n_killed += 1
        else:  # the machine is less busy than it was when the run was timed
            run_s *= 0.7
        store = Store.open(str(cut))
        assert [damage(store, entry) for entry in store.catalog.entries()] == [""] * len(
            store.catalog.entries()
        )
    assert n_killed >= KILLS // 4, "most runs ended before they were killed"
    assert run(cut) == 0
    forks.close()
    vectors = []
    for path in (whole, cut):
        store = Store.open(str(path))
        entries = store.catalog.entries(Kind.EMBEDDING)
        vectors.append({entry.digest for entry in entries})
        embedding = store.embedding(entries[-1])
        vectors[-1].add(embedding.vectors.tobytes().hex())
        vectors[-1].add(str(embedding.gene_ids.tolist()))
    assert vectors[0] == vectors[1]
