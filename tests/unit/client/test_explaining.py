"""Which label of a group is explained, against which other one, and by which of its cells."""

from dataclasses import replace
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cellkin.client import explaining
from cellkin.client.explaining import Asked, Predicted, explain_groups
from cellkin.client.explaining_cells import explain_cells
from cellkin.client.queries import WholeQuery
from cellkin.client.results.cells import CellExplanation, CellHits, Explanations
from cellkin.client.results.versions import Versions
from cellkin.matrices.held import held_cells
from cellkin.wire.errors import NotFoundError
from cellkin.wire.match import GeneMatch

N_CELLS = 12
COLUMNS = pd.DataFrame(
    {
        "ck_winner": ["alpha"] * 5 + ["beta"] * 3 + [None, "alpha", "beta", "beta"],
        "ck_winner_probability": [0.9] * 5 + [0.6] * 3 + [0, 0.5, 0.4, 0.4],
        "ck_runner_up": ["delta"] * 5 + ["alpha"] * 3 + [None, "beta", "delta", "alpha"],
        "ck_runner_up_probability": [0.1] * 5 + [0.4] * 3 + [np.nan, 0.4, 0.3, 0.3],
    }
)
GROUPS = ["alpha"] * 5 + ["beta"] * 3 + ["none"] + ["unknown"] * 3


class Told:
    """A client that answers with what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.resolved: dict[str, Any] = {}
        self.searched: list[int] = []

    def get_cell_index(self, name: str) -> Any:
        versions = Versions(index="trio@2026-01-01.1")
        return type("Index", (), {
            "name": "trio@2026-01-01.1", "labels": ("alpha", "beta", "delta"), "versions": versions,
        })  # fmt: skip

    def explain_cell(self, index: str, genes: list[str], cells: Any, **given: Any) -> Explanations:
        self.asked.append({"index": index, "cells": cells, **given})
        ones = np.ones(2, np.float32)
        found = CellExplanation(
            given["label"], 3.0, 0.5, np.array([1, 2]), ("A", "B"), ones, ones, 1.0, 7
        )
        return Explanations(Versions(index=index), (found,), "text")

    def resolve_genes(self, names: list[str], **given: Any) -> Any:
        self.resolved = {"names": names, **given}
        # The third column means the gene of the second one, too.
        match = GeneMatch(
            9606, False, np.array([1, 2, 2]), np.full(3, 3, np.uint8),
            np.array([1, 2, 2], np.uint8), np.ones(3, np.uint8),
        )  # fmt: skip
        return type("Resolved", (), {"match": match})

    def search_cells(self, index: str, cells: Any, **given: Any) -> Any:
        self.searched.append(cells.shape[0])
        n = cells.shape[0]
        # Each cell is nearest to c9, every second one to c3 as well.
        rows = [row for at in range(n) for row in ([9, 3] if at % 2 else [9])]
        similarities = np.linspace(0.9, 0.5, len(rows)).astype(np.float32)
        hits = CellHits(
            np.array([1 + at % 2 for at in range(n)], np.int32), tuple(f"c{r}" for r in rows),
            ("alpha",) * len(rows), ("d1",) * len(rows), similarities, np.array(rows),
        )  # fmt: skip
        return type("Found", (), {"hits": hits})


def explained(predicted: Predicted | None, groups: Any = GROUPS, **asked: Any) -> tuple[Any, Told]:
    counts = sp.csr_matrix(np.arange(N_CELLS * 3, dtype=np.float32).reshape(N_CELLS, 3))
    query = WholeQuery(held_cells(anndata.AnnData(counts)))
    client = Told()
    done: list[tuple[int, int]] = []
    found = explain_groups(
        client,  # type: ignore[arg-type]
        query, groups, predicted, Asked("trio", **asked), lambda *step: done.append(step),
    )  # fmt: skip
    assert done[-1][0] == done[-1][1]
    return found, client


def test_the_label_of_a_group_and_its_rival() -> None:
    found, client = explained(Predicted.of(COLUMNS, "ck"))
    table = pd.DataFrame(found.group_columns()).set_index("group")
    assert table["label"].to_dict() == {
        "alpha": "alpha", "beta": "beta", "none": "", "unknown": "beta",
    }  # fmt: skip
    assert table["chosen"].to_dict() == {
        "alpha": "the group's name", "beta": "the group's name",
        "none": "most probable label", "unknown": "most probable label",
    }  # fmt: skip
    assert table["against"].to_dict() == {
        "alpha": "delta", "beta": "alpha", "none": "", "unknown": "alpha",
    }  # fmt: skip
    assert table["n_cells"].tolist() == [5, 3, 1, 3]
    assert table["n_explained"].tolist() == [5, 3, 0, 3]
    assert [asked["cells"].shape for asked in client.asked] == [(5, 3), (3, 3), (3, 3)]
    assert {asked["index"] for asked in client.asked} == {"trio@2026-01-01.1"}
    genes = pd.DataFrame(found.columns())
    assert list(genes["group"]) == ["alpha"] * 2 + ["beta"] * 2 + ["unknown"] * 2
    assert list(genes["gene"]) == ["A", "B"] * 3
    assert list(genes["n_cells"]) == [5, 5, 3, 3, 3, 3]


def test_expression_in_and_out_of_a_group() -> None:
    found, client = explained(Predicted.of(COLUMNS, "ck"))
    counts = np.arange(N_CELLS * 3, dtype=np.float64).reshape(N_CELLS, 3)
    genes = np.column_stack([counts[:, 0], counts[:, 1] + counts[:, 2]])
    values = np.log1p(1e4 * genes / counts.sum(axis=1, keepdims=True))
    table = pd.DataFrame(found.columns()).set_index(["group", "gene"])
    names = np.array(GROUPS)
    for group in ("alpha", "beta", "unknown"):
        own = names == group
        for at, gene in enumerate("AB"):
            row = table.loc[(group, gene)]
            np.testing.assert_allclose(row["mean_in"], values[own, at].mean(), rtol=1e-6)
            np.testing.assert_allclose(row["mean_out"], values[~own, at].mean(), rtol=1e-6)
            assert row["detected_in"] == np.float32((genes[own, at] > 0).mean())
            assert row["detected_out"] == np.float32((genes[~own, at] > 0).mean())
    assert list(table["text"][:2]) == ["own summary", "own STRING function"]
    assert client.resolved["index"] == "trio@2026-01-01.1"


def test_all_cells_of_one_group_have_none_outside() -> None:
    found, _ = explained(None, ["alpha"] * N_CELLS)
    table = pd.DataFrame(found.columns())
    assert table["mean_out"].isna().all()
    assert table["detected_out"].isna().all()
    assert table["mean_in"].notna().all()


def test_the_nearest_reference_cells_of_a_group() -> None:
    found, client = explained(Predicted.of(COLUMNS, "ck"))
    assert client.searched == [5, 3, 3]
    table = pd.DataFrame(found.nearest_columns())
    first = table[table["group"] == "alpha"]
    assert first["cell_id"].tolist() == ["c9", "c3"]
    assert first["n_cells"].tolist() == [5, 2]
    assert first["n_drawn"].tolist() == [5, 5]
    np.testing.assert_allclose(first["similarity"], [3.5667 / 5, 1.3333 / 2], atol=1e-4)
    assert "none" not in set(table["group"])


def test_columns_of_a_file_are_strings() -> None:
    as_written = {name: [None if pd.isna(v) else str(v) for v in COLUMNS[name]] for name in COLUMNS}
    found, right = Predicted.of(as_written, "ck"), Predicted.of(COLUMNS, "ck")
    assert found is not None
    assert right is not None
    assert found.labels.tolist() == right.labels.tolist()
    np.testing.assert_array_equal(found.probabilities, right.probabilities)
    assert Predicted.of(COLUMNS, "cellkin") is None


def test_what_is_asked_for_is_explained() -> None:
    found, client = explained(Predicted.of(COLUMNS, "ck"), label="delta", against="beta")
    assert {group.chosen for group in found.groups} == {"asked for"}
    assert [(asked["label"], asked["against"]) for asked in client.asked] == [("delta", "beta")] * 4
    found, _ = explained(Predicted.of(COLUMNS, "ck"), against="alpha")
    assert [group.against for group in found.groups][:2] == ["", "alpha"]


def test_cells_that_were_not_labeled_have_no_rival() -> None:
    with pytest.raises(NotFoundError, match=r"the group 'none' .*\.tl\.annotate first, or give"):
        explained(None)
    groups = ["alpha"] * 6 + [None] * 6
    found, _ = explained(None, pd.Categorical(groups, categories=["alpha", "beta"]))
    assert [(group.name, group.against) for group in found.groups] == [("alpha", "")]


def test_of_a_large_group_cells_are_drawn_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "_MEAN_CELLS", 4)
    groups = ["alpha"] * 10 + ["beta"] * 2
    _, client = explained(None, groups)
    assert client.asked[0]["cells"].toarray()[:, 1].tolist() == [1, 10, 19, 28]
    # And no more than a message holds.
    monkeypatch.setattr(explaining, "_MEAN_VALUES", 9)
    found, _ = explained(None, groups)
    assert [group.n_explained for group in found.groups] == [3, 2]


class ToldOfCells(Told):
    """A client that answers for each cell, by its first value."""

    def explain_cell(self, index: str, genes: list[str], cells: Any, **given: Any) -> Explanations:
        one = super().explain_cell(index, genes, cells, **given)
        scores = cells.toarray()[:, 0].tolist()
        found = tuple(replace(one.cells[0], score=score) for score in scores)
        return replace(one, cells=found)


def explained_cells(predicted: Predicted | None, **asked: Any) -> tuple[Any, list[str], Told]:
    counts = sp.csr_matrix(1 + np.arange(N_CELLS * 3, dtype=np.float32).reshape(N_CELLS, 3))
    query = WholeQuery(held_cells(anndata.AnnData(counts)))
    client = ToldOfCells()
    found, rivals = explain_cells(
        client,  # type: ignore[arg-type]
        query, predicted, Asked("trio", **asked), lambda done, total: None,
    )  # fmt: skip
    scores = [cell.score for cell in found.cells]
    np.testing.assert_array_equal(scores, counts.toarray()[:, 0])
    return found, rivals, client


def test_cells_are_explained_by_their_label_and_its_rival() -> None:
    predicted = Predicted.of(COLUMNS, "ck")
    assert predicted is not None
    found, rivals, client = explained_cells(predicted)
    winners, seconds = predicted.labels.tolist()
    held = {"alpha", "beta", "delta"}
    assert [cell.label for cell in found.cells] == [w if w in held else "" for w in winners]
    assert rivals == [
        second if winner in held and second else ""
        for winner, second in zip(winners, seconds, strict=True)
    ]
    # Cells of the same two labels are asked for together, all of one version.
    pairs = [(asked["label"], asked["against"]) for asked in client.asked]
    assert len(pairs) == len(set(pairs))
    assert {asked["index"] for asked in client.asked[1:]} == {"trio"}


@pytest.mark.parametrize(
    ("predicted", "asked", "pair"),
    [
        (None, {}, ("", "")),
        (Predicted.of(COLUMNS, "ck"), {"label": "beta"}, ("beta", "")),
        (None, {"label": "beta", "against": "alpha"}, ("beta", "alpha")),
    ],
    ids=["nothing", "a label", "two"],
)
def test_what_is_asked_for_of_cells(
    predicted: Predicted | None, asked: dict[str, str], pair: tuple[str, str]
) -> None:
    _, rivals, client = explained_cells(predicted, **asked)
    assert [(one["label"], one["against"]) for one in client.asked] == [pair]
    assert rivals == [pair[1]] * N_CELLS
