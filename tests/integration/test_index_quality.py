"""`cellkin cells index` says how good a reference is, and refuses names that are none."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import anndata
import pytest
from tests.integration.live import Live

from cellkin.client import Client
from cellkin.wire.errors import InvalidArgumentError

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]
Make = Callable[..., anndata.AnnData]


def index(run: Run, path: Path, store: Path, *more: str) -> subprocess.CompletedProcess[str]:
    options = ("--name", "new", "--label", "cell_type", "--embedding", "random:64:7", *more)
    return run("cells", "index", path, "--store", store, "--workers", "1", *options)


def test_a_job_ends_with_how_good_labels_are(
    own_store: Path, reference_path: Path, run_cellkin: Run
) -> None:
    done = index(run_cellkin, reference_path, own_store)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("embedding random-64-7@"))
    text, expression = (
        next(line for line in lines[start:] if line.startswith(f"labels by {space}: accuracy "))
        for space in ("text", "expression")
    )
    for line in (text, expression):
        assert ", macro-F1 " in line
        assert ", calibration error " in line
        assert line.endswith("(held out: fifths of the cells, 150 cells)")
    assert lines[-2].startswith("WARNING: the gene vectors of random-64-7@")
    assert "are a control and say nothing about genes: labels by text mean nothing" in lines[-2]
    assert lines[-1] == (
        "WARNING: labels are judged on parts of the same donors, as no batch column was given "
        "though obs has 'donor': give --batch donor"
    )


def test_of_cells_that_came_later_nothing_was_held_out(
    own_store: Path, make_cells: Make, tmp_path: Path, run_cellkin: Run
) -> None:
    path = tmp_path / "more.h5ad"
    make_cells(30, 6).write_h5ad(path)
    more = "--store", own_store, "--label", "cell_type", "--batch", "donor"
    done = run_cellkin("cells", "append", "trio", path, *more, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "measured of trio@" in done.stdout
    assert "labels by text: accuracy " in done.stdout
    assert "WARNING: the gene vectors of random-64-7@" in done.stdout


def test_programs_are_told_as_well(own_store: Path, reference_path: Path, run_cellkin: Run) -> None:
    limits = []
    for share in ("0.01", "0.3"):
        more = "--batch", "donor", "--false-alarms", share, "--json"
        done = index(run_cellkin, reference_path, own_store, *more)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert set(said["weak_labels"]) == {"text", "expression"}
        assert [w.partition(" of ")[0] for w in said["warnings"]] == ["the gene vectors"]
        assert (said["control_embedding"], said["likely_batch"]) == (True, "")
        assert said["batches"] == ["d0", "d1"]
        limits.append(said["quality"]["expression"]["novelty_limit"])
    assert limits[0] > limits[1]


@pytest.mark.parametrize("share", ["0.0001", "0.6", "some"])
def test_false_alarms_are_a_share(
    store_path: Path, reference_path: Path, run_cellkin: Run, share: str
) -> None:
    done = index(run_cellkin, reference_path, store_path, "--false-alarms", share)
    assert done.returncode == 2
    assert "Invalid value for '--false-alarms'" in done.stderr
    done = index(run_cellkin, reference_path, store_path, "--false-alarms", "0.1", "--like", "trio")
    assert done.returncode == 2
    assert "leave out --embedding and --false-alarms" in done.stderr


def test_row_numbers_are_no_genes(
    store_path: Path, live: Live, make_cells: Make, tmp_path: Path, run_cellkin: Run
) -> None:
    numbers = [str(i) for i in range(120)]
    path = tmp_path / "numbers.h5ad"
    make_cells(30, 5, numbers).write_h5ad(path)
    message = "the 120 gene names are row numbers (0, 1, 2, ..., 119)"
    done = index(run_cellkin, path, store_path)
    assert (done.returncode, message in done.stderr) == (2, True)
    done = run_cellkin("annotate", path, "--index", "trio", "--server", live.address)
    assert (done.returncode, message in done.stderr) == (2, True)
    done = run_cellkin("genes", "resolve", *numbers, "--store", store_path)
    assert (done.returncode, message in done.stderr) == (2, True)
    with Client(live.address) as client:
        with pytest.raises(InvalidArgumentError, match="120 gene names are row numbers"):
            client.resolve_genes(numbers)
        assert client.resolve_genes(["1", "2", "3"]).match.n_matched == 3


def test_a_species_that_names_contradict_is_refused(
    store_path: Path, live: Live, make_cells: Make, tmp_path: Path, run_cellkin: Run
) -> None:
    names = [f"ENSG{i:011d}" for i in range(1, 121)]
    path = tmp_path / "human.h5ad"
    make_cells(30, 5, names).write_h5ad(path)
    message = "100% of the 120 gene names are spelled as human genes, 0.0% as mouse"
    done = index(run_cellkin, path, store_path, "--taxon", "10090")
    assert (done.returncode, message in done.stderr) == (2, True)
    ask = ("annotate", path, "--index", "trio", "--server", live.address)
    done = run_cellkin(*ask, "--taxon", "10090")
    assert (done.returncode, message in done.stderr) == (2, True)
    assert run_cellkin(*ask, "--taxon", "9606").returncode == 0
