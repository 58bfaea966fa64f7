"""SIGKILL at any moment of `cells index`: a version is whole or not there, the old one serves."""

import os
import random
import shutil
import signal
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.integration.forking import Forks

from cellkin.store.catalog import Kind
from cellkin.store.cell_index import read_cell_index
from cellkin.store.cell_vectors import read_vectors
from cellkin.store.gc import collect, orphans
from cellkin.store.maintenance import damage
from cellkin.store.store import Store
from cellkin.wire.names import VersionName

pytestmark = pytest.mark.integration

IMPORTS = """
from pathlib import Path
from cellkin.indexer.cells import plan
from cellkin.indexer.cells.engines import LocalEngine
from cellkin.indexer.cells.job import Job, index_cells
from cellkin.indexer.cells.sources import Reference
from cellkin.space.recipe import TEXT_V1
from cellkin.store.store import Store
from cellkin.wire.names import VersionName

plan.SHARD_CELLS = 40
"""
INDEX = """
reference = Reference([Path(told["cells"])], "cell_type", "donor")
index_cells(Store.open(told["store"]), "trio", reference, VersionName("random-64-7"), TEXT_V1)
"""


@pytest.mark.parametrize("n_kills", [12, pytest.param(100, marks=pytest.mark.slow)])
def test_whatever_is_cut_off_leaves_no_bad_version(
    store_path: Path, reference_path: Path, tmp_path: Path, n_kills: int
) -> None:
    path = Path(shutil.copytree(store_path, tmp_path / "store"))
    forks = Forks(IMPORTS, INDEX)

    def begin() -> int:
        return forks.begin(store=str(path), cells=str(reference_path))

    begin()
    assert forks.end() == 0  # whatever is compiled or cached is so now
    began = time.monotonic()
    begin()
    assert forks.end() == 0
    run_s = time.monotonic() - began
    moments = random.Random(2)
    n_killed = 0
    for _ in range(4 * n_kills):
        child = begin()
        time.sleep(moments.uniform(0, 0.9 * run_s))
        with suppress(ProcessLookupError):  # it was done already
            os.kill(child, signal.SIGKILL)
        if forks.end() == -signal.SIGKILL:
            n_killed += 1
        else:  # the machine is less busy than it was when a run was timed
            run_s *= 0.8
        if n_killed == n_kills:
            break
    forks.close()
    assert n_killed == n_kills, "most runs ended before they were killed"

    store = Store.open(str(path))
    entries = store.catalog.entries(Kind.INDEX)
    assert [damage(store, entry) for entry in entries] == [""] * len(entries)
    # Every version that is there is the same whole index.
    assert len({entry.digest for entry in entries[1:]}) == 1
    newest = store.catalog.resolve(Kind.INDEX, VersionName("trio"))
    index = read_cell_index(store.index_folder(newest))
    assert index.text is not None
    vectors = read_vectors(store, newest).take(np.arange(150))
    assert index.text.neighbors.search(vectors, 1)[1][:, 0].tolist() == list(range(150))
    # What was cut off can be removed, and the versions stay whole.
    collect(store, timedelta(0), force=True)
    assert orphans(store) == []
    assert [damage(store, entry) for entry in entries] == [""] * len(entries)
