"""Votes of clusters, beside their definition in words."""

import numpy as np
import pandas as pd
import pytest

from cellkin.client.labels.clusters import vote


def test_the_votes_of_a_cluster_add_up() -> None:
    clusters = pd.Categorical(["0", "0", "0", "1", "1", None, "0"], categories=["0", "1", "2"])
    labels = pd.Categorical(
        ["alpha", "beta", "beta", "unknown", "alpha", "alpha", "unknown"],
        categories=["beta", "alpha", "unknown"],
    )
    winners = pd.Categorical(
        ["alpha", "beta", "beta", "beta", "alpha", "alpha", None],
        categories=["beta", "alpha", "delta"],
    )
    chances = np.array([1.0, 0.6, 0.9, 0.3, 0.8, 1.0, 0.2], np.float32)
    found = vote(clusters, labels, winners, chances, 0.39)
    assert found.names == ("0", "1", "2")
    # Cluster 1 has one alpha of 0.8 among two cells; of no cells nothing is claimed.
    assert found.labels == ("unknown", "alpha", "unknown")
    np.testing.assert_allclose(found.confidences, [1.5 / 4, 0.4, 0], rtol=1e-6)
    # What the clusters are if a label is forced; of no cells nothing.
    assert found.winners == ("beta", "alpha", "")
    np.testing.assert_allclose(found.winner_shares, [1.5 / 4, 0.4, 0], rtol=1e-6)
    assert found.split_labels == ("alpha", "beta", "delta", "unknown")
    assert found.split.tolist() == [[1, 2, 0, 1], [1, 0, 0, 1], [0, 0, 0, 0]]
    frame = found.to_pandas()
    assert list(frame.columns) == [
        "cluster", "label", "confidence", "winner", "winner_share", "n_cells", "split",
    ]  # fmt: skip
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
    assert vote(clusters, labels, winners, chances, 0.37).labels[0] == "beta"


@pytest.mark.parametrize("labels", [["b", "a"], ["a", "b"]])
def test_of_equal_votes_the_first_by_name_wins(labels: list[str]) -> None:
    both = pd.Categorical(labels)
    found = vote(["x", "x"], both, both, np.array([0.8, 0.8], np.float32), 0.1)
    assert (found.labels, found.winners) == (("a",), ("a",))


def test_where_nothing_is_known_nothing_is_claimed() -> None:
    nothing = pd.Categorical(["unknown"], categories=["unknown"])
    chances = np.array([0.9], np.float32)
    found = vote(["x"], nothing, pd.Categorical([None], categories=[]), chances, 0.1)
    assert (found.labels, found.confidences.tolist()) == (("unknown",), [0])
    assert (found.winners, found.winner_shares.tolist()) == (("",), [0])


def test_an_unknown_cluster_says_what_it_is_if_a_label_is_forced() -> None:
    labels = pd.Categorical(["unknown"] * 3, categories=["a", "b", "unknown"])
    winners = pd.Categorical(["a", "b", "b"], categories=["a", "b"])
    chances = np.array([0.6, 0.5, 0.4], np.float32)
    found = vote(["x"] * 3, labels, winners, chances, 0.5)
    assert (found.labels, found.winners) == (("unknown",), ("b",))
    np.testing.assert_allclose(found.winner_shares, [0.3], rtol=1e-6)
