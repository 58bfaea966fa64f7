"""``cellkin cells evaluate`` on a handful of cells: models beside their controls, in a process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import pytest

from cellkin.indexer.evaluation import question
from cellkin.indexer.evaluation.question import Question, evaluate_cells
from cellkin.store.store import Store
from cellkin.wire.errors import InvalidArgumentError

pytestmark = pytest.mark.integration
Run = Callable[..., Any]


def test_terms_are_scored_as_paths_beside_controls(
    store_path: Path, reference_path: Path, tmp_path: Path, run_cellkin: Run
) -> None:
    cells = anndata.read_h5ad(reference_path)
    names = sorted(cells.obs["cell_type"].unique())
    ids = dict(zip(names, ["C:2", "C:3", "C:4"], strict=True))
    terms = [ids[name] for name in cells.obs["cell_type"]]
    # A term that another replaces, and cells of no type, as files of CELLxGENE have them.
    of_alpha = [at for at, term in enumerate(terms) if term == "C:2"]
    for at in of_alpha[:6]:
        terms[at] = "C:20"
    for at in of_alpha[-4:]:
        terms[at] = "unknown"
    cells.obs["term"] = terms
    cells.var["symbol"] = list(cells.var_names)
    cells.var_names = [f"row {at}" for at in range(cells.n_vars)]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    stated = [("C:1", "endocrine", ""), ("C:2", "alpha", "is_a: C:1\n")]
    stated += [("C:3", "beta", "is_a: C:1\n"), ("C:4", "duct", "")]
    stated += [("C:20", "obsolete A cell", "is_obsolete: true\nreplaced_by: C:2\n")]
    obo = tmp_path / "toy.obo"
    obo.write_text(
        "ontology: toy\n\n" + "\n".join(f"[Term]\nid: {i}\nname: {n}\n{up}" for i, n, up in stated)
    )
    done = run_cellkin(
        "cells", "evaluate", str(tmp_path / "cells.h5ad"), "--store", str(store_path),
        "--label", "term", "--batch", "donor", "--ontology", str(obo), "--gene-column", "symbol",
        "--embedding", "random-64-7", "--recipe", "text-v2-mlp",
        "--page", str(tmp_path / "page.html"), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)["reports"]
    assert set(report["types"]) == {"endocrine/alpha", "endocrine/beta", "duct"}
    counts = dict(zip(report["types"], report["reference_counts"], strict=True))
    assert counts["endocrine/alpha"] == len(of_alpha) - 4
    assert [note for note in report["notes"] if "'unknown' (4 cells)" in note]
    rows = {row["method"]: row["scores"] for row in report["rows"] if row["scores"]}
    assert len(rows) > 5
    for scores in rows.values():
        assert scores["hierarchical_f1"] >= scores["accuracy"]
    by_mlp = [row for row in report["rows"] if row["recipe"] == "text-v2-mlp"]
    assert all(row["refined"] and row["scores"] for row in by_mlp)
    drawn = ["permuted-vectors"] * 3 + ["random-vectors"] * 3
    assert sorted((row["control"] for row in by_mlp), key=str) == [None, *drawn]
    # A query meets an index, and none has an MLP.
    (default,) = (row for row in report["rows"] if row["method"].startswith("default"))
    assert default["recipe"] == "text-v2"
    assert "endocrine/alpha" in (tmp_path / "page.html").read_text()


def test_an_unknown_recipe_is_refused_and_the_known_are_listed(
    store_path: Path, reference_path: Path
) -> None:
    question = Question(
        reference_path, "cell_type", embeddings=["random-64-7"], recipes=["text-v9"]
    )
    with pytest.raises(InvalidArgumentError, match=r"'text-v9' is unknown; choose text-v2, .*mlp"):
        evaluate_cells(Store.open(str(store_path)), question)


def test_what_has_nothing_to_tell_apart_is_refused_before_anything_is_fitted(
    store_path: Path, reference_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(question, "ask", lambda *_: pytest.fail("a method was asked"))
    cells = anndata.read_h5ad(reference_path)
    cells[cells.obs["cell_type"] == "beta"].copy().write_h5ad(tmp_path / "one.h5ad")
    cells.obs["own"] = (cells.obs["cell_type"] == "beta").map({True: "yes", False: "no"})
    cells[cells.obs["cell_type"] != "alpha"].copy().write_h5ad(tmp_path / "two.h5ad")
    store = Store.open(str(store_path))
    for path, batch, said in (
        ("one.h5ad", None, "1 label, 'beta'.*nothing to tell apart"),
        ("two.h5ad", "own", "without no: the cells to learn from are all 'beta'"),
    ):
        asked = Question(tmp_path / path, "cell_type", batch, embeddings=["random-64-7"])
        with pytest.raises(InvalidArgumentError, match=said):
            evaluate_cells(store, asked)
