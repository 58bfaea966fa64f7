"""Votes of clusters, beside their definition in words."""

import numpy as np
import pandas as pd
import pytest

from cellkin.client.clusters import vote


def test_the_votes_of_a_cluster_add_up() -> None:
    clusters = pd.Categorical(["0", "0", "0", "1", "1", None, "0"], categories=["0", "1", "2"])
    labels = pd.Categorical(
        ["alpha", "beta", "beta", "unknown", "alpha", "alpha", "unknown"],
        categories=["beta", "alpha", "unknown"],
    )
    chances = np.array([1.0, 0.6, 0.9, 0.3, 0.8, 1.0, 0.2], np.float32)
    found = vote(clusters, labels, chances, 0.39)
    assert found.names == ("0", "1", "2")
    # Cluster 1 has one alpha of 0.8 among two cells; of no cells nothing is claimed.
    assert found.labels == ("unknown", "alpha", "unknown")
    np.testing.assert_allclose(found.confidences, [1.5 / 4, 0.4, 0], rtol=1e-6)
    assert found.split_labels == ("alpha", "beta", "unknown")
    assert found.split.tolist() == [[1, 2, 1], [1, 0, 1], [0, 0, 0]]
    frame = found.to_pandas()
    assert list(frame["split"]) == [
        "beta 50.0%, alpha 25.0%, unknown 25.0%", "alpha 50.0%, unknown 50.0%", "",
    ]  # fmt: skip
    split = pd.DataFrame(found.split_columns())
    assert split["n_cells"].tolist() == [1, 2, 1, 1, 1]
    assert split["share"].tolist() == [0.25, 0.5, 0.25, 0.5, 0.5]
    assert list(frame["n_cells"]) == [4, 2, 0]
    cells = found.of_cells(clusters)
    assert list(cells.astype(object)[:5]) == ["unknown"] * 3 + ["alpha"] * 2
    assert pd.isna(cells[5])
    assert vote(clusters, labels, chances, 0.37).labels[0] == "beta"


@pytest.mark.parametrize("labels", [["b", "a"], ["a", "b"]])
def test_of_equal_votes_the_first_by_name_wins(labels: list[str]) -> None:
    found = vote(["x", "x"], pd.Categorical(labels), np.array([0.8, 0.8], np.float32), 0.1)
    assert found.labels == ("a",)


def test_where_nothing_is_known_nothing_is_claimed() -> None:
    nothing = pd.Categorical(["unknown"], categories=["unknown"])
    found = vote(["x"], nothing, np.array([0.9], np.float32), 0.1)
    assert (found.labels, found.confidences.tolist()) == (("unknown",), [0])
