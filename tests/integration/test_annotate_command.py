"""What `cellkin annotate` shows beside labels: forced labels, warnings, the check of a sample."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import anndata
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
    label, n_forced = next(iter(told["forced"].items()))
    assert forced == f"{label} ({n_forced})"
    assert sum(told["forced"].values()) == told["labels"]["unknown"] == int(n_cells)
    _, _, _, mean, forced = row(shown, "alpha")
    assert (float(mean) > 0.5, forced) == (True, "")
    assert told["strictness"] == {"novelty_limit": 0.5}
    assert "on held-out cells of the reference" in shown
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
        (("-o", "labels.csv"), "labels are written as .h5ad"),
        (("--probabilities",), "--probabilities are written beside the cells; add -o OUT.h5ad"),
        (("--exclude-batch", "nobody"), "has no batch 'nobody'; it has d0, d1"),
    ],
)
def test_options_that_are_refused(
    server: str, query_path: Path, run_cellkin: Run, options: tuple[str, ...], message: str
) -> None:
    done = run_cellkin("annotate", query_path, "--index", "trio", "--server", server, *options)
    assert done.returncode == 2
    assert message in done.stderr
