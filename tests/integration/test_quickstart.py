"""`cellkin quickstart`: from two files to labels, a labeled copy and a page, all or nothing."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

Make = Callable[..., anndata.AnnData]
Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.integration
CELLKIN = Path(sys.executable).with_name("cellkin")
REAL = Path(__file__).parents[3] / "shared/data/cells"
FILES = {"labels.csv", "labeled.h5ad", "report.html", "server.log", "store"}


class Outside(HTMLParser):
    """Collects what a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [str(v) for k, v in attrs if k in ("src", "href")]
        if tag == "script" and given.get("type") != "application/json":
            self.found.append("script")
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def made(
    run_cellkin: Run,
    reference_path: Path,
    query_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, str]:
    """The folder of a run on three types, and what it printed."""
    folder = tmp_path_factory.mktemp("quick") / "out"
    done = run_cellkin(
        "quickstart", reference_path, query_path, "--label", "cell_type", "--batch", "donor",
        "--out", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_it_leaves_labels_a_copy_a_page_and_the_store(
    made: tuple[Path, str], query_path: Path
) -> None:
    folder, said = made
    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    own = anndata.read_h5ad(query_path).obs["cell_type"]
    labels = pd.read_csv(folder / "labels.csv", index_col="cell_id")
    assert (labels.loc[own.index, "label"] == own).mean() > 0.9
    copy = anndata.read_h5ad(folder / "labeled.h5ad")
    assert (copy.obs["cellkin_label"] == labels["label"]).all()
    for word in (
        "alpha",
        "WARNING: genes are named",
        "held out: 2 batches in turn",
        "without --quick leaves each label out",
        "to go on:",
    ):
        assert word in said


def test_the_page_needs_nothing_else_and_says_what_was_found(made: tuple[Path, str]) -> None:
    text = (made[0] / "report.html").read_text()
    page = Outside()
    page.feed(text)
    assert (page.found, page.open) == ([], [])
    data = re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    told = json.loads(data[1])
    assert sum(told["label_counts"].values()) == 60
    assert told["held_out_accuracy"] > 0.9
    assert told["compared"]["agreement"] > 0.9
    assert sum(map(sum, told["compared"]["counts"])) == 60
    for word in ("alpha", "Unknown cells", "held out", "no part in this", "cellkin serve --store"):
        assert word in text


def test_the_store_it_leaves_is_served(
    made: tuple[Path, str], run_cellkin: Run, query_path: Path, serve: Callable[..., object]
) -> None:
    with serve(made[0] / "store") as (address, _):  # type: ignore[attr-defined]
        done = run_cellkin("annotate", query_path, "--index", "reference", "--server", address)
    assert done.returncode == 0, done.stderr


def test_results_are_replaced_only_by_force_and_other_files_never(
    made: tuple[Path, str], run_cellkin: Run, reference_path: Path, query_path: Path, tmp_path: Path
) -> None:
    arguments = ["quickstart", reference_path, query_path, "--label", "cell_type", "--out"]
    again = run_cellkin(*arguments, made[0])
    assert again.returncode == 2
    assert "--force" in again.stderr
    (tmp_path / "mine.txt").write_text("mine")
    done = run_cellkin(*arguments, tmp_path, "--force")
    assert done.returncode == 2
    assert "mine.txt" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([f"ENSMUSG{i:011d}" for i in range(120)], "share 0 gene names"),
        ([f"OTHER{i}" for i in range(120)], "share 0 gene names"),
    ],
)
def test_files_whose_genes_cannot_meet_are_refused_before_anything_is_made(
    run_cellkin: Run, reference_path: Path, make_cells: Make, tmp_path: Path,
    names: list[str], said: str,
) -> None:  # fmt: skip
    query = tmp_path / "query.h5ad"
    make_cells(60, 2, names).write_h5ad(query)
    out = tmp_path / "out"
    done = run_cellkin("quickstart", reference_path, query, "--label", "cell_type", "--out", out)
    assert done.returncode == 2
    assert said in done.stderr
    assert "genes import" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["query.h5ad"]


def test_a_query_that_is_the_reference_is_warned_of(
    run_cellkin: Run, reference_path: Path, tmp_path: Path
) -> None:
    done = run_cellkin(
        "quickstart", reference_path, reference_path, "--label", "cell_type", "--out",
        tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING: QUERY is the REFERENCE itself" in done.stdout


def test_two_species_are_refused(run_cellkin: Run, make_cells: Make, tmp_path: Path) -> None:
    for name, form in (("human", "ENSG{:011d}"), ("mouse", "ENSMUSG{:011d}")):
        cells = make_cells(60, 2)
        cells.var["gene_ids"] = [form.format(i) for i in range(120)]
        cells.write_h5ad(tmp_path / f"{name}.h5ad")
    done = run_cellkin(
        "quickstart", tmp_path / "human.h5ad", tmp_path / "mouse.h5ad", "--label", "cell_type",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 2
    assert "genes of human" in done.stderr
    assert "of mouse" in done.stderr


def test_symbols_meet_ids_by_the_file_that_has_both(
    run_cellkin: Run, make_cells: Make, tmp_path: Path
) -> None:
    ids = [f"ENSG{i:011d}" for i in range(120)]
    reference, query = make_cells(150, 1), make_cells(60, 2, ids)
    reference.var["gene_ids"] = ids
    reference.write_h5ad(tmp_path / "reference.h5ad")
    del query.obs["cell_type"]
    query.write_h5ad(tmp_path / "query.h5ad")
    done = run_cellkin(
        "quickstart", tmp_path / "reference.h5ad", tmp_path / "query.h5ad", "--label", "cell_type",
        "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["gene_match"]["route_ensembl"] == "120"
    assert told["compared"] is None
    assert Path(told["files"]["page"]).exists()
    assert told["seconds"]["index"] > 0


def test_an_interrupt_leaves_nothing(
    reference_path: Path, query_path: Path, tmp_path: Path
) -> None:
    command = [CELLKIN, "quickstart", reference_path, query_path, "--label", "cell_type", "--out",
               tmp_path / "out"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
        deadline = time.monotonic() + 300
        # Once the store is begun it is at work on the index.
        while not list(tmp_path.glob(".out-*/store")) and time.monotonic() < deadline:
            time.sleep(0.2)
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=120) == 130
    assert list(tmp_path.iterdir()) == []


def test_real_pancreas_by_donors(run_cellkin: Run, tmp_path: Path) -> None:
    path = REAL / "pancreas_human_baron.h5ad"
    if not path.exists():
        pytest.skip(f"no {path.name} under {REAL}")
    cells = anndata.read_h5ad(path)
    rng = np.random.default_rng(0)
    for name, donors, n in (("a", ["human1", "human2", "human3"], 600), ("b", ["human4"], 150)):
        rows = np.flatnonzero(cells.obs["donor"].isin(donors))
        cells[np.sort(rng.permutation(rows)[:n])].copy().write_h5ad(tmp_path / f"{name}.h5ad")
    done = run_cellkin(
        "quickstart", tmp_path / "a.h5ad", tmp_path / "b.h5ad", "--label", "cell_type", "--batch",
        "donor", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["compared"]["agreement"] > 0.95
    assert told["unknown_share"] < 0.2
    assert told["gene_match"]["taxon"] == "9606"
