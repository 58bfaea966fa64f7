"""The cell job: many files, every engine, append and merge, and what it refuses."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

from cellkin.client import Client
from cellkin.client.annotate import annotate_file
from cellkin.indexer.cells import plan
from cellkin.indexer.cells.engines import Engine, LocalEngine
from cellkin.indexer.cells.job import (
    Job,
    append_cells,
    index_by_expression,
    index_cells,
    merge_indexes,
    place_like,
)
from cellkin.indexer.cells.publish import IndexChoice, Stages
from cellkin.indexer.cells.report import cautions
from cellkin.indexer.cells.sources import Reference
from cellkin.indexer.spaces.classifier import Votes
from cellkin.space.recipe import TEXT_V1, TEXT_V1_NT_XENT, TEXT_V2
from cellkin.store.catalog import Entry, Kind
from cellkin.store.cell_index import read_cell_index
from cellkin.store.cell_table import cell_table
from cellkin.store.cell_vectors import read_vectors
from cellkin.store.gc import collect, orphans
from cellkin.store.maintenance import damage
from cellkin.store.quality import read_qualities
from cellkin.store.store import Store
from cellkin.wire.errors import (
    FailedPreconditionError,
    IntegrityError,
    InvalidArgumentError,
)
from cellkin.wire.names import VersionName
from cellkin.wire.terms import control_caution

pytestmark = pytest.mark.integration
Make = Callable[..., anndata.AnnData]
EMBEDDING = VersionName("random-64-7")


@pytest.fixture
def store(store_path: Path, tmp_path: Path) -> Store:
    return Store.open(str(shutil.copytree(store_path, tmp_path / "store")))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SHARD_CELLS", 30)


@pytest.fixture
def files(tmp_path: Path, make_cells: Make) -> list[Path]:
    """Two samples; the second lacks the first ten genes and has the others in another order."""
    first, second = make_cells(90, 11), make_cells(80, 12)
    second = second[:, np.random.default_rng(0).permutation(np.arange(10, 120))].copy()
    paths = [tmp_path / "first.h5ad", tmp_path / "second.h5ad"]
    for cells, path in zip((first, second), paths, strict=True):
        cells.write_h5ad(path)
    return paths


def make(
    store: Store, files: list[Path], engine: Engine | None = None, name: str = "both"
) -> Entry:
    job = Job(engine=engine or LocalEngine(1))
    return index_cells(store, name, Reference(files, "cell_type"), EMBEDDING, TEXT_V1, job).entry


def test_files_with_genes_of_their_own_are_one_reference(store: Store, files: list[Path]) -> None:
    entry = make(store, files)
    cells = cell_table(store, entry)
    assert cells.column("id").to_pylist() == [
        *(f"cell11-{i}" for i in range(90)),
        *(f"cell12-{i}" for i in range(80)),
    ]
    assert cells.column("batch").to_pylist() == ["first"] * 90 + ["second"] * 80
    assert [r["gene_match"]["genes_given"] for r in entry.manifest["references"]] == ["120", "110"]
    index = read_cell_index(store.index_folder(entry))
    assert index.text is not None
    vectors = np.concatenate(list(read_vectors(store, entry).batches()))
    # A cell of one file is nearest to cells of its own type in both.
    _, near = index.text.neighbors.search(vectors, 10)
    labels = index.cells.labels
    assert (labels[near] == labels[:, None]).mean() > 0.99
    assert (near[:90] >= 90).any()
    assert (near[90:] < 90).any()


def test_every_engine_gives_the_same_rows(
    store: Store, files: list[Path], small_shards: None
) -> None:
    alone = make(store, files)
    with closing(LocalEngine(2)) as engine:
        in_processes = make(store, files, engine)
    assert in_processes.manifest["rows_digest"] == alone.manifest["rows_digest"]
    assert in_processes.digest == alone.digest


def test_a_head_trained_without_labels_is_kept_as_any_other(
    store: Store, files: list[Path]
) -> None:
    reference, job = Reference(files, "cell_type"), Job(engine=LocalEngine(1))
    entry = index_cells(store, "both", reference, EMBEDDING, TEXT_V1_NT_XENT, job).entry
    index = read_cell_index(store.index_folder(entry))
    assert index.text is not None
    assert index.text.space.recipe == TEXT_V1_NT_XENT
    assert index.text.space.head is not None
    vectors = np.concatenate(list(read_vectors(store, entry).batches()))
    assert vectors.shape == (170, index.text.space.dim)
    _, near = index.text.neighbors.search(vectors, 10)
    assert (index.cells.labels[near] == index.cells.labels[:, None]).mean() > 0.9


@contextmanager
def killing(pids: Callable[[], list[int]], killed: list[int]) -> Iterator[Stages]:
    """Stages of a job in which a worker is killed when its first cells are placed."""

    @contextmanager
    def stage(what: str) -> Iterator[Callable[[int, int], None]]:
        def progress(done: int, total: int) -> None:
            if what == "placing cells" and not killed:
                killed.append(pids()[0])
                os.kill(killed[0], signal.SIGKILL)

        yield progress

    yield stage


def test_a_killed_process_costs_a_retry_and_no_row(
    store: Store, files: list[Path], small_shards: None
) -> None:
    alone = make(store, files)
    killed: list[int] = []

    def workers() -> list[int]:
        return [p.pid for p in multiprocessing.active_children() if p.pid]

    with killing(workers, killed) as stages, closing(LocalEngine(2)) as engine:
        job = Job(engine=engine, stages=stages)
        reference = Reference(files, "cell_type")
        report = index_cells(store, "both", reference, EMBEDDING, TEXT_V1, job)
    assert killed
    assert report.entry.manifest["rows_digest"] == alone.manifest["rows_digest"]
    assert report.n_cells == 170


def test_a_killed_ray_worker_costs_a_retry_and_no_row(
    store: Store, tmp_path: Path, make_cells: Make
) -> None:
    pytest.importorskip("ray")
    make_cells(25_000, 3).write_h5ad(tmp_path / "many.h5ad", compression="gzip")
    command: list[str | Path] = [
        Path(sys.executable).with_name("cellkin"), "cells", "index", tmp_path / "many.h5ad",
        "--store", store.uri, "--name", "many", "--label", "cell_type",
        "--embedding", "random:64:7", "--space", "text", "--recipe", "text-v1", "--workers", "2",
        "--index", "Flat",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    process = subprocess.Popen([*command, "--engine", "ray"], stdout=subprocess.DEVNULL)
    try:
        # On a busy machine Ray takes minutes to start.
        deadline = time.monotonic() + 300
        while not (workers := placing()):
            assert process.poll() is None, "it was over before a worker could be killed"
            assert time.monotonic() < deadline, "no worker began"
            time.sleep(0.002)
        os.kill(workers[0], signal.SIGKILL)
        assert process.wait(timeout=300) == 0
    finally:
        process.kill()
    alone, by_ray = (e for e in store.catalog.entries(Kind.INDEX) if e.name == "many")
    assert by_ray.manifest["n_cells"] == 25_000
    assert by_ray.manifest["rows_digest"] == alone.manifest["rows_digest"]


def placing() -> list[int]:
    """Return the process ids of Ray's workers that are placing cells."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            title = (process / "cmdline").read_bytes() if process.name.isdigit() else b""
            if title.startswith(b"ray::RayWorker.place"):
                found.append(int(process.name))
    return found


def test_appended_cells_come_after_those_there_are(store: Store, files: list[Path]) -> None:
    base = make(store, files[:1])
    report = append_cells(store, VersionName("both"), Reference(files[1:], "cell_type"))
    before, after = read_vectors(store, base), read_vectors(store, report.entry)
    assert (before.n, after.n) == (90, 170)
    rows = np.arange(90)
    assert np.array_equal(after.take(rows), before.take(rows))
    assert cell_table(store, report.entry).column("id").to_pylist()[90] == "cell12-0"
    assert report.entry.manifest["appended_to"] == base.full_name
    assert sum(report.entry.manifest["label_counts"].values()) == 170
    assert len(report.entry.manifest["references"]) == 2
    index = read_cell_index(store.index_folder(report.entry))
    assert index.text is not None
    assert len(index.text.neighbors) == 170
    # The version before answers as it did.
    before_it = read_cell_index(store.index_folder(base))
    assert before_it.text is not None
    assert len(before_it.text.neighbors) == 90
    assert [damage(store, entry) for entry in (base, report.entry)] == ["", ""]


def test_what_weakens_labels_is_kept(store: Store, files: list[Path]) -> None:
    base = make(store, files[:1], name="first").manifest
    assert base["control_embedding"] is True  # random vectors
    assert (base["batch"], base["likely_batch"], base["batches"]) == ("", "donor", [])
    assert cautions(base, control=True) == [
        control_caution(base["embedding"]),
        "labels are judged on parts of the same donors, as no batch column was given though obs "
        "has 'donor': give --batch donor",
    ]
    both = make(store, files).manifest
    assert (both["likely_batch"], both["batches"]) == ("", ["first", "second"])
    # What takes spaces over was judged as these were.
    second = Reference(files[1:], "cell_type", "donor")
    for report in (
        append_cells(store, VersionName("first"), second),
        place_like(store, "second", second, VersionName("first")),
    ):
        made = report.entry.manifest
        assert (made["control_embedding"], made["likely_batch"]) == (True, "donor")
        assert made["batches"] == ["d0", "d1"]
    donors = Reference(files[:1], "cell_type", "donor")
    given = index_cells(store, "given", donors, EMBEDDING, TEXT_V1)
    assert given.entry.manifest["likely_batch"] == ""
    assert cautions(given.entry.manifest, control=False) == []


def test_one_label_tells_nothing_apart(store: Store, files: list[Path], tmp_path: Path) -> None:
    cells = anndata.read_h5ad(files[0])
    one = cells[cells.obs["cell_type"] == "alpha"].copy()
    one.write_h5ad(tmp_path / "one.h5ad")
    alone = Reference([tmp_path / "one.h5ad"], "cell_type")
    refused = r"1 label, 'alpha'.*nothing to tell apart"
    with pytest.raises(InvalidArgumentError, match=refused):
        index_cells(store, "one", alone, EMBEDDING, TEXT_V1)
    with pytest.raises(InvalidArgumentError, match=refused):
        index_by_expression(store, "one", alone)
    # Where an index knows the label, such cells are welcome, and its labels keep their numbers.
    make(store, files[1:], name="both")
    like = place_like(store, "like", alone, VersionName("both")).entry
    assert like.manifest["label_counts"] == {"alpha": one.n_obs, "beta": 0, "delta": 0}
    appended = append_cells(store, VersionName("both"), alone).entry
    assert appended.manifest["label_counts"]["alpha"] > one.n_obs


@pytest.mark.parametrize("few", [1, 2])
def test_a_label_of_few_cells_is_taken_with_a_warning(
    store: Store, files: list[Path], tmp_path: Path, few: int
) -> None:
    cells = anndata.read_h5ad(files[0])
    kinds = cells.obs["cell_type"].to_numpy()
    kept = np.r_[np.flatnonzero(kinds == "alpha"), np.flatnonzero(kinds == "beta")[:few]]
    cells[kept].copy().write_h5ad(tmp_path / "few.h5ad")
    reference = Reference([tmp_path / "few.h5ad"], "cell_type")
    entry = index_cells(store, "few", reference, EMBEDDING, TEXT_V2).entry
    assert entry.manifest["few_cells"] == {"beta": few}
    assert any(f"beta ({few})" in said for said in cautions(entry.manifest, control=False))
    index = read_cell_index(store.index_folder(entry))
    for part in index.parts.values():
        assert part.classifier.ceilings.tolist() == pytest.approx([1, few / (few + 1)])
    made = place_like(store, "second", reference, VersionName("few")).entry
    assert made.manifest["few_cells"] == {"beta": few}


def test_fewer_false_alarms_mean_a_limit_farther_off(store: Store, files: list[Path]) -> None:
    def limit(false_alarms: float) -> float:
        job = Job(engine=LocalEngine(1), votes=Votes(false_alarms=false_alarms))
        reference = Reference(files[:1], "cell_type", "donor")
        entry = index_cells(store, "some", reference, EMBEDDING, TEXT_V1, job).entry
        return read_qualities(entry.manifest)["expression"].novelty_limit

    assert limit(0.01) > limit(0.07) > limit(0.4)


def test_a_cell_cannot_be_appended_twice(store: Store, files: list[Path]) -> None:
    base = make(store, files[:1])
    with pytest.raises(InvalidArgumentError, match=r"90 cell names repeat.*cell11-0.*and 70 more"):
        append_cells(store, VersionName("both"), Reference(files[:1], "cell_type"))
    assert store.catalog.resolve(Kind.INDEX, VersionName("both")).full_name == base.full_name


def test_references_placed_apart_in_one_space_can_be_merged(
    store: Store, files: list[Path]
) -> None:
    first = make(store, files[:1], name="first")
    place_like(store, "second", Reference(files[1:], "cell_type"), VersionName("first"))
    merged = merge_indexes(store, "merged", [VersionName("first"), VersionName("second")])
    appended = append_cells(store, VersionName("first"), Reference(files[1:], "cell_type")).entry
    assert merged.manifest["n_cells"] == 170
    vectors = [np.concatenate(list(read_vectors(store, e).batches())) for e in (merged, appended)]
    assert np.array_equal(vectors[0], vectors[1])
    assert merged.manifest["merged_from"][0] == first.full_name
    with pytest.raises(InvalidArgumentError, match="170 cell names repeat"):
        merge_indexes(store, "twice", [VersionName("merged"), VersionName("first")])


def test_damage_is_not_carried_into_a_new_version(store: Store, files: list[Path]) -> None:
    first = make(store, files[:1], name="first")
    stored = np.concatenate([b["vector"].flatten() for b in cell_table(store, first).batches()])
    (data,) = (Path(store.uri) / "cells-first.lance" / "data").iterdir()
    place_like(store, "second", Reference(files[1:], "cell_type"), VersionName("first"))
    content = bytearray(data.read_bytes())
    at = content.find(stored[:8].tobytes())
    assert at >= 0
    content[at] ^= 1
    data.write_bytes(content)
    before = store.catalog.entries()
    with pytest.raises(IntegrityError, match="restore a backup or index the cells again"):
        append_cells(store, VersionName("first"), Reference(files[1:], "cell_type"))
    with pytest.raises(IntegrityError, match="restore a backup or index the cells again"):
        merge_indexes(store, "merged", [VersionName("second"), VersionName("first")])
    assert store.catalog.entries() == before
    with pytest.raises(IntegrityError):
        list(read_vectors(store, first).batches())
    assert "do not have the digest" in damage(store, first)


def test_indexes_of_two_spaces_cannot_be_merged(store: Store, files: list[Path]) -> None:
    make(store, files[:1], name="first")
    make(store, files[1:], name="second")
    with pytest.raises(FailedPreconditionError, match=r"2 cell spaces.*--like first@"):
        merge_indexes(store, "merged", [VersionName("first"), VersionName("second")])


def test_names_that_repeat_across_files_are_listed(
    store: Store, files: list[Path], tmp_path: Path, make_cells: Make
) -> None:
    other = make_cells(20, 11)
    other.write_h5ad(tmp_path / "other.h5ad")
    with pytest.raises(InvalidArgumentError, match=r"20 cell names repeat in .*other.h5ad"):
        make(store, [files[0], tmp_path / "other.h5ad"])


def test_what_a_job_leaves_behind_is_found(store: Store, files: list[Path]) -> None:
    make(store, files)
    assert orphans(store) == []
    reference = Reference(files, "cell_type")
    job = Job(index=IndexChoice("nonsense"))
    with pytest.raises(InvalidArgumentError, match="factory"):
        index_cells(store, "both", reference, EMBEDDING, TEXT_V1, job)
    # Its rows are the newest version of their table, which goes when there is a newer one.
    assert orphans(store) == []
    make(store, files)
    assert {orphan.what for orphan in orphans(store)} == {"table version", "rows"}
    with pytest.raises(InvalidArgumentError, match="factory"):
        index_cells(store, "other", reference, EMBEDDING, TEXT_V1, job)
    removed = {orphan.what for orphan in collect(store, timedelta(0), force=True)}
    assert removed == {"table version", "rows"}
    assert orphans(store) == []
    assert [damage(store, entry) for entry in store.catalog.entries()] == [""] * 5


def test_a_reference_in_milvus_answers_like_one_in_faiss(
    store: Store,
    files: list[Path],
    query_path: Path,
    tmp_path: Path,
    serve: Callable[..., Any],
    run_cellkin: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    pytest.importorskip("milvus_lite")
    here = make(store, files)
    # In a process of its own: one process at a time opens a file of Milvus Lite.
    done = run_cellkin(
        "cells", "index", *files, "--store", store.uri, "--name", "there", "--label", "cell_type",
        "--embedding", "random:64:7", "--index", f"milvus://{tmp_path}/cells.db",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    entry = store.catalog.resolve(Kind.INDEX, VersionName("there"))
    assert entry.manifest["certificate"]["recall"]["10"] > 0.99
    assert not list(store.index_folder(entry).glob("*.faiss"))
    with serve(Path(store.uri)) as (address, _), Client(address) as client:
        there = annotate_file(client, query_path, "there").predictions
        same = annotate_file(client, query_path, here.full_name).predictions
    assert np.array_equal(there.winners, same.winners)
    np.testing.assert_allclose(there.supports, same.supports, atol=1e-4)
    assert np.array_equal(there.reasons, same.reasons)


def test_terms_of_an_ontology_become_paths_and_stay_so(
    store: Store, make_cells: Make, tmp_path: Path
) -> None:
    obo = tmp_path / "toy.obo"
    terms = [("C:0", "cell", ""), ("C:1", "endocrine cell", "C:0"), ("C:2", "alpha", "C:1")]
    terms += [("C:3", "beta", "C:1"), ("C:4", "duct cell", "C:0")]
    stanzas = [
        f"[Term]\nid: {i}\nname: {n}\n" + (f"is_a: {up}\n" if up else "") for i, n, up in terms
    ]
    obo.write_text("ontology: toy\n\n" + "\n".join(stanzas))
    first, second = make_cells(90, 21), make_cells(60, 22)
    for cells, name in ((first, "first"), (second, "second")):
        known = sorted(cells.obs["cell_type"].unique())
        ids = dict(zip(known, ["C:2", "C:3", "C:4"], strict=True))
        cells.obs["term"] = [ids[t] for t in cells.obs["cell_type"]]
        cells.write_h5ad(tmp_path / f"{name}.h5ad")
    reference = Reference([tmp_path / "first.h5ad"], "term", "donor", ontology=obo)
    entry = index_cells(store, "terms", reference, EMBEDDING, TEXT_V1).entry
    paths = {"C:2": "endocrine cell/alpha", "C:3": "endocrine cell/beta", "C:4": "duct cell"}
    assert entry.manifest["terms"] == paths
    assert set(entry.manifest["label_counts"]) == set(paths.values())
    # The file is not needed any more: an index knows its terms.
    more = Reference([tmp_path / "second.h5ad"], "term", "donor")
    grown = append_cells(store, VersionName("terms"), more).entry
    assert grown.manifest["terms"] == paths
    assert sum(grown.manifest["label_counts"].values()) == 150
