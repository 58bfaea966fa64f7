"""Words that say that a cell has no label, and spaces around labels."""

from pathlib import Path

import pandas as pd
import pytest
from tests.unit.matrices import conftest as made

from cellkin.matrices.cells import open_cells
from cellkin.matrices.labels import is_missing, read_labels

MISSING = [
    *("", " ", "nan", "NaN", "NA", "N/A", "None", "null", "<NA>", "#N/A"),
    *("unknown", "Unknown", "unassigned", "Unassigned ", "Unclassified", "unlabeled", "unlabelled"),
    *("N.A.", "not available", "Not_Assigned", "not-annotated", "missing", "undefined"),
]


@pytest.mark.parametrize("word", MISSING)
def test_words_of_missing_labels(word: str) -> None:
    assert is_missing(word)
    assert read_labels([["beta", word, None]]).values == ["beta", None, None]
    assert read_labels([["beta", word, None]], literal=True).values == ["beta", word, None]


@pytest.mark.parametrize(
    "label", ["NK", "Na+ channel neuron", "unknown 2", "0", "none of these", "doublet", "other"]
)
def test_other_labels_stay(label: str) -> None:
    assert not is_missing(label)
    found = read_labels([[label]])
    assert (found.values, found.notes) == ([label], [])


def test_what_was_missing_is_counted() -> None:
    found = read_labels([["unknown"] * 12 + ["nan"] * 3 + ["beta", None]])
    assert found.values == [None] * 15 + ["beta", None]
    (note,) = found.notes
    assert "'unknown' (12 cells), 'nan' (3 cells)" in note
    assert "--literal-labels" in note


def test_spaces_around_labels() -> None:
    found = read_labels([[" beta", "beta", "beta ", " nan "], ["a", "a", "b ", "c"]])
    assert found.values == ["beta/a", "beta/a", "beta/b", None]
    assert [note for note in found.notes if "spaces" in note] == [
        "spaces around the labels of 2 cells were left out"
    ]
    assert read_labels([[" beta"], ["a "]], literal=True).values == [" beta/a "]


def test_labels_of_a_file(tmp_path: Path) -> None:
    data = made.sample(n_cells=6)
    data.obs["cell_type"] = ["a", "unknown", "NA", "a", "b ", ""]
    data.obs["class"] = pd.Categorical(["x", "x", "x", None, "y", "y"])
    with open_cells(made.write_h5ad(data, tmp_path / "a.h5ad")) as cells:
        assert cells.labels("cell_type").values == ["a", None, None, "a", "b", None]
        assert cells.labels("class,cell_type").values == ["x/a", None, None, None, "y/b", None]
        literal = cells.labels("cell_type", literal=True)
    assert (literal.values, literal.notes) == (["a", "unknown", "NA", "a", "b ", ""], [])
