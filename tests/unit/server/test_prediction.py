"""Answers to prediction queries, made from the labels of cells."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

from cellkin.server import prediction
from cellkin.space.classifier import Placed
from cellkin.space.hierarchy import Hierarchy
from cellkin.space.labels import Labels
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire import codec
from cellkin.wire.terms import UnknownReason


def test_an_ancestor_has_to_be_as_probable_as_the_coverage_of_its_cell_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    low = UnknownReason.LOW_PROBABILITY
    labels = Labels(
        winners=np.zeros(2, np.int32),
        probabilities=np.full(2, 0.4, np.float32),
        supports=np.zeros(2, np.float32),
        n_votes=np.zeros(2, np.uint8),
        novelties=np.zeros(2, np.float32),
        reasons=np.full(2, low, np.uint8),
        least=np.array([0.5, 0.8]),
        by_label=np.tile([0.4, 0.3, 0.3], (2, 1)),
        kinds=[],
    )
    placed = Placed(np.zeros((2, 3), np.float32), np.zeros(2, bool))
    query = object.__new__(prediction.PredictionQuery)
    query.__dict__.update(
        _reader=SimpleNamespace(read=lambda block: sp.csr_matrix((2, 3)), match=None),
        _labeler=SimpleNamespace(
            label=lambda cells: (placed, labels),
            requires_background=False,
            classifier=SimpleNamespace(min_probability=0.5),
        ),
        _hierarchy=Hierarchy.of(["a/b", "a/c", "d"]),
        _return_vectors=False,
        _return_probabilities=False,
        _layout=None,
    )
    monkeypatch.setattr(prediction, "route_shares", lambda *_: np.zeros((2, 1), np.float32))
    answer = query.predict(wire.CellBlock())
    assert codec.decode(answer.fallbacks, np.int32, "fallbacks").tolist() == [0, -1]
