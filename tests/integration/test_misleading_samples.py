"""Samples that a reference cannot label: each dialogue ends with a refusal or a warning.

Real cells, through the command line, Python and, where it is installed, grpcurl.
"""

import gzip
import json
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from tests.integration.conftest import running_server

import cellkin.client as ck
from cellkin.client.transport.errors import AnswerWarning
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.protos import descriptor_set_path

DATA = Path(__file__).resolve().parents[3] / "shared/data"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the data sets are not at {DATA}"),
]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
PBMC = DATA / "cells/pbmc_human_3k.h5ad"
KANG = DATA / "cells/pbmc_human_kang_ctrl_stim.h5ad"


def warnings_of(call: Callable[[], Any]) -> str:
    """Return what a call warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AnswerWarning)
        call()
    return " ".join(str(w.message) for w in caught if w.category is AnswerWarning)


@pytest.fixture(scope="module")
def blood(tmp_path_factory: pytest.TempPathFactory, run_cellkin: Run) -> Iterator[tuple[Path, str]]:
    """A store with an index of five kinds of blood cells, none of them NK cells, and its server."""
    folder = tmp_path_factory.mktemp("blood")
    names = set(anndata.read_h5ad(KANG, backed="r").var_names)
    with (
        gzip.open(DATA / "ncbi/gene_info.gz", "rt") as source,
        gzip.open(folder / "gene_info.gz", "wt") as cut,
    ):
        cut.write(next(source))
        # Mouse genes too: their names are what a wrong species would be read as.
        cut.writelines(row for row in source if row.split("\t", 3)[2].upper() in names)
    store = str(folder / "store")
    for command in (
        ("genes", "import", "--store", store, "--gene-info", str(folder / "gene_info.gz")),
        ("genes", "embed", "--store", store, "--model", "random:64:1"),
        ("cells", "index", str(KANG), "--store", store, "--name", "kang",
         "--embedding", "random-64-1", "--label", "cell_type", "--batch", "condition"),
    ):  # fmt: skip
        done = run_cellkin(*command)
        assert done.returncode == 0, done.stderr
    with running_server(folder / "store") as (address, _):
        yield folder, address


def grpcurl(address: str, method: str, *messages: dict[str, Any]) -> Any:
    """Ask by grpcurl; skipped where it is not installed."""
    if shutil.which("grpcurl") is None:
        pytest.skip("grpcurl is not installed")
    return subprocess.run(
        ["grpcurl", "-protoset", str(descriptor_set_path()), "-plaintext", "-d", "@", address,
         f"cellkin.v1.{method}"],
        input="\n".join(map(json.dumps, messages)),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def header(names: list[str], **given: Any) -> dict[str, Any]:
    units = "EXPRESSION_UNITS_LINEAR"
    return {"header": {"index": "kang", "genes": names, "units": units, **given}}


def test_types_that_the_reference_lacks(blood: tuple[Path, str], run_cellkin: Run) -> None:
    _, address = blood
    done = run_cellkin("annotate", str(PBMC), "--index", "kang", "--server", address)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    weak = said[said.index("WARNING: left out of the reference") :]
    assert "CD8 T cells" in weak
    assert "instead of being called unknown" in weak
    cells = anndata.read_h5ad(PBMC)
    warned = warnings_of(lambda: ck.tl.annotate(cells, "kang", client=ck.Client(address)))
    assert "left out of the reference" in warned
    assert "WEAK_LABELS" in list(cells.uns["cellkin"]["warnings"]["reason"])
    killers = (cells.obs["cell_type"] == "NK").to_numpy()
    assert killers.sum() == 155
    # They are read as the nearest type: that is what the warning is for.
    assert (cells.obs["cellkin_winner"][killers] == "CD8 T cells").mean() > 0.9


def test_grpcurl_is_warned_of_types_that_the_reference_lacks(blood: tuple[Path, str]) -> None:
    _, address = blood
    names = list(anndata.read_h5ad(PBMC, backed="r").var_names)
    done = grpcurl(address, "CellService/StreamPredictSubtypes", header(names))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["report"]
    (warning,) = (w for w in report["warnings"] if w["reason"] == "WEAK_LABELS")
    assert "CD8 T cells" in warning["labels"]
    done = grpcurl(address, "CatalogService/GetCellIndex", {"name": "kang"})
    qualities = json.loads(done.stdout)["qualities"]
    (expression,) = (q for q in qualities if q["space"] == "SPACE_KIND_EXPRESSION")
    weak = {label["label"] for label in expression["labels"] if label.get("weak")}
    assert weak == set(warning["labels"])


def test_vectors_that_are_a_control(blood: tuple[Path, str], run_cellkin: Run) -> None:
    _, address = blood
    asked = ("annotate", str(PBMC), "--index", "kang", "--server", address, "--space", "text")
    done = run_cellkin(*asked)
    assert done.returncode == 0, done.stderr
    assert "are a control and say nothing about genes" in " ".join(done.stdout.split())
    told = json.loads(run_cellkin(*asked, "--json").stdout)
    assert "CONTROL_EMBEDDING" in json.dumps(told["warnings"])
    cells = anndata.read_h5ad(PBMC)[:50].copy()
    client = ck.Client(address)
    warned = warnings_of(lambda: ck.tl.annotate(cells, "kang", client=client, space="text"))
    assert "are a control" in warned


def test_grpcurl_is_warned_of_vectors_that_are_a_control(blood: tuple[Path, str]) -> None:
    _, address = blood
    names = list(anndata.read_h5ad(PBMC, backed="r").var_names)
    asked = header(names, space="SPACE_KIND_TEXT")
    done = grpcurl(address, "CellService/StreamPredictSubtypes", asked)
    warned = {warning["reason"] for warning in json.loads(done.stdout)["report"]["warnings"]}
    assert "CONTROL_EMBEDDING" in warned


def test_row_numbers(blood: tuple[Path, str], run_cellkin: Run, tmp_path: Path) -> None:
    _, address = blood
    cells = anndata.read_h5ad(PBMC)[:60].copy()
    cells.var_names = [str(i) for i in range(cells.n_vars)]
    cells.write_h5ad(tmp_path / "numbers.h5ad")
    done = run_cellkin(
        "annotate", str(tmp_path / "numbers.h5ad"), "--index", "kang", "--server", address
    )
    assert done.returncode == 2
    assert "row numbers" in " ".join(done.stderr.split())
    with pytest.raises(InvalidArgumentError, match="row numbers"):
        ck.tl.annotate(cells, "kang", client=ck.Client(address))


def test_grpcurl_cannot_ask_by_row_numbers(blood: tuple[Path, str]) -> None:
    _, address = blood
    names = [str(i) for i in range(300)]
    done = grpcurl(address, "CellService/StreamPredictSubtypes", header(names))
    assert done.returncode != 0
    assert "InvalidArgument" in done.stderr
    assert "row numbers" in done.stderr


def test_a_species_that_the_names_contradict(blood: tuple[Path, str], run_cellkin: Run) -> None:
    _, address = blood
    done = run_cellkin(
        "annotate", str(KANG), "--index", "kang", "--server", address, "--taxon", "10090"
    )
    assert done.returncode == 2
    assert "as human genes" in " ".join(done.stderr.split())


@pytest.mark.slow
@pytest.mark.parametrize("query", ["interneurons_mouse_zeisel", "pancreas_mouse_baron"])
def test_a_sample_of_another_species(
    query: str, tmp_path_factory: pytest.TempPathFactory, run_cellkin: Run, tmp_path: Path
) -> None:
    """The first is of another tissue, too; the second is what the reference is for."""
    folder = tmp_path_factory.getbasetemp() / "pancreas"
    human = DATA / "cells/pancreas_human_baron.h5ad"
    mouse = [DATA / f"cells/{name}.h5ad" for name in QUERIES]
    if not folder.exists():
        index_pancreas(folder, human, mouse, run_cellkin)
    out = tmp_path / "out.h5ad"
    path = DATA / f"cells/{query}.h5ad"
    with running_server(folder / "store") as (address, _):
        asked = ("annotate", str(path), "--index", "pancreas", "--server", address)
        done = run_cellkin(*asked, "-o", str(out))
        assert done.returncode == 0, done.stderr
        report = json.loads(run_cellkin(*asked, "--json").stdout)
        cells = anndata.read_h5ad(path)
        client = ck.Client(address)
        shown = warnings_of(lambda: ck.tl.annotate(cells, "pancreas", client=client))
    written = anndata.read_h5ad(out)
    unknown = written.obs["cellkin_unknown"].to_numpy()
    assert np.array_equal(unknown, cells.obs["cellkin_unknown"].to_numpy())
    said = " ".join(done.stdout.split())
    if query == "interneurons_mouse_zeisel":
        assert unknown.mean() >= 0.95
        assert report["sample_check"]["verdict"] == "foreign"
        assert "does not belong to the reference" in said
        assert "does not belong to the reference" in shown
        return
    assert report["sample_check"]["verdict"] == "belongs"
    assert "does not belong" not in said + shown
    known = written.obs["cell_type"].isin(set(anndata.read_h5ad(human).obs["cell_type"]))
    assert unknown[known].mean() <= 0.2


QUERIES = ("interneurons_mouse_zeisel", "pancreas_mouse_baron")


def index_pancreas(folder: Path, human: Path, mouse: list[Path], run_cellkin: Run) -> None:
    """Index the human pancreas by STRING's texts of the genes of all three files."""
    folder.mkdir()
    names = {
        name.strip().upper()
        for path in (human, *mouse)
        for name in anndata.read_h5ad(path, backed="r").var_names
    }
    with (
        gzip.open(DATA / "ncbi/gene_info.gz", "rt") as source,
        gzip.open(folder / "gene_info.gz", "wt") as cut,
    ):
        cut.write(next(source))
        cut.writelines(row for row in source if row.split("\t", 3)[2].upper() in names)
    store = str(folder / "store")
    strings = [DATA / f"string/{taxon}.protein.info.v12.0.txt.gz" for taxon in (9606, 10090)]
    for command in (
        ("genes", "import", "--store", store, "--gene-info", str(folder / "gene_info.gz"),
         "--string", str(strings[0]), "--string", str(strings[1])),
        ("genes", "embed", "--store", store),
        ("cells", "index", str(human), "--store", store, "--name", "pancreas",
         "--label", "cell_type", "--batch", "donor"),
    ):  # fmt: skip
        done = run_cellkin(*command)
        assert done.returncode == 0, done.stderr
