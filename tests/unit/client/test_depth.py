"""Cells that are much shallower than the reference's."""

import pytest

from cellkin.client.results.depth import DepthCost, ReferenceDepth, read_depth
from cellkin.v1 import cell_service_pb2 as wire

COSTS = (DepthCost(0.125, 0.25, 150, 0.02, 0.4), DepthCost(0.0, 0.0625, 90, 0.0, 0.75))


@pytest.mark.parametrize("n_genes", [250, 1000, float("nan")])
def test_usual_cells_and_none_are_no_matter(n_genes: float) -> None:
    assert ReferenceDepth(1000, COSTS).caution(n_genes) == ""


def test_what_was_measured_at_that_depth_is_said() -> None:
    said = ReferenceDepth(1000, COSTS).caution(130)
    assert "a median of 130 genes, those of the reference 1,000" in said
    assert "of 150 held-out cells" in said
    assert "40% were unknown and 2% of the labels claimed wrong" in said
    assert "75% were unknown" in ReferenceDepth(1000, COSTS).caution(20)


def test_what_was_not_measured_is_said_to_be_so() -> None:
    assert "was not measured" in ReferenceDepth(1000, COSTS).caution(80)
    assert "was not measured" in ReferenceDepth(1000).caution(80)


def test_a_message_is_read() -> None:
    cost = wire.DepthCost(at_least=0.125, below=0.25, n_cells=150, wrong=0.5, unknown=0.25)
    found = read_depth(wire.ReferenceDepth(expected_genes=800, costs=[cost]))
    assert found == ReferenceDepth(800, (DepthCost(0.125, 0.25, 150, 0.5, 0.25),))
