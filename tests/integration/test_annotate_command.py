"""What `cellkin annotate` shows beside labels and writes: tables, copies, clusters, warnings."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def mouse_path(
    make_cells: Callable[..., anndata.AnnData], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A file of 260 mouse cells."""
    path = tmp_path_factory.mktemp("mouse") / "mouse.h5ad"
    make_cells(260, 43, [f"Gene{i}" for i in range(1, 121)]).write_h5ad(path)
    return path


def row(table: str, name: str) -> list[str]:
    """Return the cells of the row of a table that begins with a name."""
    (line,) = (line for line in table.splitlines() if line.startswith(f"│ {name} "))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_unknown_cells_say_what_they_are_if_a_label_is_forced(
    server: str, query_path: Path, tmp_path: Path, run_cellkin: Run
) -> None:
    asked = ("annotate", query_path, "--index", "trio", "--server", server, "--max-novelty", "0.5")
    shown = run_cellkin(*asked).stdout
    assert "unknown below probability 0.5 or above novelty 0.50" in shown
    _, n_cells, _, mean, forced = row(shown, "unknown")
    assert int(n_cells) > 0
    assert mean == "", "the probability of no label"
    told = json.loads(run_cellkin(*asked, "--json").stdout)
    label, n_forced = next(iter(told["forced_counts"].items()))
    assert forced == f"{label} ({n_forced})"
    assert sum(told["forced_counts"].values()) == told["label_counts"]["unknown"] == int(n_cells)
    _, _, _, mean, forced = row(shown, "alpha")
    assert (float(mean) > 0.5, forced) == (True, "")
    assert told["strictness"] == {"novelty_limit": 0.5}
    # Of cells this easy the error may be none, and then there is nothing to say.
    measured = told["calibration_error"] > 0
    assert ("on held-out cells of the reference" in shown) == measured
    out = tmp_path / "out.h5ad"
    done = run_cellkin(*asked[:-2], "--false-alarms", "0.2", "--probabilities", "-o", out)
    assert done.returncode == 0, done.stderr
    written = anndata.read_h5ad(out)
    assert written.obsm["cellkin_probabilities"].shape == (60, 3)
    assert list(written.uns["cellkin"]["labels"]) == ["alpha", "beta", "delta"]
    assert written.uns["cellkin"]["strictness"]["false_alarms"] == pytest.approx(0.2)


def test_what_weakens_labels_is_shown_under_them(
    server: str, mouse_path: Path, tmp_path: Path, run_cellkin: Run
) -> None:
    out = tmp_path / "out.h5ad"
    asked = ("annotate", mouse_path, "--index", "trio", "--server", server)
    done = run_cellkin(*asked, "-o", out)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    warned = [line for line in lines if line.startswith("WARNING: ")]
    assert warned[0].startswith("WARNING: the sample does not belong to the reference")
    assert warned[1].startswith("WARNING: the gene vectors of random-64-7@")
    assert lines.index(warned[0]) > max(at for at, line in enumerate(lines) if line[:1] == "└")
    assert "the query's own mean subtracted" in done.stdout
    assert "held-out cells" not in done.stdout, "that was measured on other genes"
    told = json.loads(run_cellkin(*asked, "--json").stdout)
    assert [each["reason"] for each in told["warnings"]][:2] == [
        "FOREIGN_SAMPLE", "CONTROL_EMBEDDING",
    ]  # fmt: skip
    assert told["foreign"]
    assert told["calibration_error"] == 0
    written = anndata.read_h5ad(out).uns["cellkin"]
    assert list(written["warnings"]["message"]) == [each["message"] for each in told["warnings"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-novelty", "1", "--false-alarms", "0.1"), "give one of them"),
        (("--false-alarms", "0.9"), "from 0.001 to 0.5"),
        (("--probabilities",), "--probabilities are written beside the cells; add -o FILE"),
        (("--force",), "add -o FILE"),
        (("--exclude-batch", "nobody"), "has no batch 'nobody'; it has d0, d1"),
    ],
)
def test_options_that_are_refused(
    server: str, query_path: Path, run_cellkin: Run, options: tuple[str, ...], message: str
) -> None:
    done = run_cellkin("annotate", query_path, "--index", "trio", "--server", server, *options)
    assert done.returncode == 2
    assert message in done.stderr


NOBODY = "127.0.0.1:9"


@pytest.fixture(scope="module")
def tables(
    server: str, query_path: Path, tmp_path_factory: pytest.TempPathFactory, run_cellkin: Run
) -> Path:
    """A folder with the labels of one run in every form."""
    folder = tmp_path_factory.mktemp("tables") / "made" / "anew"
    names = ("labels.csv", "labels.tsv", "labels.csv.gz", "labels.parquet", "out.h5ad")
    outputs = [part for name in names for part in ("-o", folder / name)]
    done = run_cellkin(
        "annotate", query_path, "--index", "trio", "--server", server, "--max-novelty", "0.5",
        "--clusters", "cell_type", "--probabilities", *outputs,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-5:] == [f"written: {folder / name}" for name in names]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    return folder


def test_cells_in_no_cluster_are_counted(
    server: str, query_path: Path, tmp_path: Path, run_cellkin: Run
) -> None:
    data = anndata.read_h5ad(query_path)
    data.obs["group"] = pd.Categorical([None] * 5 + ["a"] * (data.n_obs - 5))
    data.write_h5ad(tmp_path / "a.h5ad")
    done = run_cellkin(
        "annotate", tmp_path / "a.h5ad", "--index", "trio", "--server", server,
        "--clusters", "group",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "5 cells without a value in group are in no cluster" in done.stdout


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.DataFrame(pq.read_table(path).to_pydict())
    return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", keep_default_na=False)


@pytest.mark.parametrize("name", ["labels.csv", "labels.tsv", "labels.csv.gz", "labels.parquet"])
def test_tables_have_what_the_copy_has(tables: Path, name: str) -> None:
    copy, table = anndata.read_h5ad(tables / "out.h5ad"), read(tables / name)
    assert list(table["cell_id"]) == list(copy.obs_names)
    columns = [c for c in copy.obs if c.startswith("cellkin_")]
    assert {f"cellkin_{c}" for c in table} >= set(columns)
    for column in columns:
        written, right = table[column.removeprefix("cellkin_")], copy.obs[column]
        if right.dtype.kind in "fui":
            numbers = pd.to_numeric(written).to_numpy(np.float32)
            np.testing.assert_array_equal(numbers, right.to_numpy(np.float32), column)
        else:
            assert list(written.astype(str)) == list(right.astype(str)), column
    unknown = table["label"] == "unknown"
    assert unknown.any()
    assert pd.to_numeric(table["probability"]).isna().tolist() == unknown.tolist()
    assert set(table["reason"][unknown]) == {"too far"}
    assert set(table["reason"][~unknown]) == {""}
    assert list(table["cluster"]) == list(copy.obs["cell_type"])
    chances = table[["probability:alpha", "probability:beta", "probability:delta"]]
    np.testing.assert_array_equal(
        chances.to_numpy(np.float32), copy.obsm["cellkin_probabilities"], name
    )


def test_clusters_are_shown_and_told(
    server: str, query_path: Path, tables: Path, run_cellkin: Run
) -> None:
    asked = ("annotate", query_path, "--index", "trio", "--server", server)
    shown = run_cellkin(*asked, "--clusters", "cell_type").stdout
    assert "Labels of the clusters of cell_type" in shown
    told = json.loads(run_cellkin(*asked, "--clusters", "cell_type", "--json").stdout)
    assert [each["cluster"] for each in told["clusters"]] == ["alpha", "beta", "delta"]
    assert sum(each["n_cells"] for each in told["cluster_split"]) == 60
    assert told["clustered_by"] == "cell_type"
    held = anndata.read_h5ad(tables / "out.h5ad").uns["cellkin"]
    assert list(held["clusters"].columns) == list(told["clusters"][0])
    # The same words as in uns, and two counts and the shares by route that it has not.
    assert set(told) - set(held) == {"label_counts", "forced_counts", "route_shares"}
    refused = run_cellkin(*asked[:-1], NOBODY, "--clusters", "leiden")
    assert refused.returncode == 2
    assert "no obs column 'leiden'; there is: cell_type, donor" in refused.stderr


@pytest.mark.parametrize(
    ("names", "fragments"),
    [
        (["labels.xlsx"], [".csv", ".tsv", ".parquet", ".h5ad"]),
        (["labels"], [".csv", ".h5ad"]),
        (["kept.csv"], ["is there already", "--force"]),
        (["new.csv", "kept.h5ad"], ["kept.h5ad is there already"]),
        (["new.csv", "../x/new.csv"], ["is to be written twice"]),
        (["query.h5ad"], ["is the input itself"]),
        (["link.h5ad"], ["is the input itself"]),
    ],
)
def test_outputs_are_refused_before_anything_is_asked(
    query_path: Path, tmp_path: Path, run_cellkin: Run, names: list[str], fragments: list[str]
) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    query = folder / "query.h5ad"
    query.write_bytes(query_path.read_bytes())
    (folder / "link.h5ad").symlink_to(query)
    for kept in ("kept.csv", "kept.h5ad"):
        (folder / kept).write_text("kept")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    outputs = [part for name in names for part in ("-o", folder / name)]
    done = run_cellkin("annotate", query, "--index", "trio", "--server", NOBODY, *outputs)
    assert done.returncode == 2
    for fragment in fragments:
        assert fragment in done.stderr
    assert "no cellkin server answers" not in done.stderr
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_force_overwrites(server: str, query_path: Path, tmp_path: Path, run_cellkin: Run) -> None:
    table, copy = tmp_path / "labels.csv", tmp_path / "out.h5ad"
    for path in (table, copy):
        path.write_text("before")
    done = run_cellkin(
        "annotate", query_path, "--index", "trio", "--server", server, "-o", table, "-o", copy,
        "--force",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(read(table)) == anndata.read_h5ad(copy).n_obs == 60


def test_a_run_goes_on_where_it_stopped(
    server: str, query_path: Path, tmp_path: Path, run_cellkin: Run
) -> None:
    kept, first, second = tmp_path / "kept", tmp_path / "1.csv", tmp_path / "2.csv"
    asked = ("annotate", query_path, "--index", "trio", "--server", server, "--resume", kept)
    assert run_cellkin(*asked, "-o", first).returncode == 0
    assert (kept / "manifest.json").is_file()
    # Of what is kept another table, and a copy with vectors, may be made.
    copy = tmp_path / "out.h5ad"
    assert run_cellkin(*asked, "-o", second, "-o", copy).returncode == 0
    assert first.read_bytes() == second.read_bytes()
    assert anndata.read_h5ad(copy).obsm["X_cellkin"].shape[0] == 60
    other = run_cellkin(*asked, "--min-probability", "0.9")
    assert other.returncode == 2
    assert "min_probability was" in other.stderr
