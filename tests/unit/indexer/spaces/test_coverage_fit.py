"""What few genes and few molecules cost is fitted on cells that are held out."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from tests.unit.indexer.spaces.folds import hold_out
from tests.unit.indexer.spaces.made import sample_of

from cellkin.indexer.cells.fitting import Judging, fit_expression_part
from cellkin.indexer.spaces.classifier import Votes, ceilings
from cellkin.indexer.spaces.coverage import CoverageProbe, _costs, _Draw, detection_of
from cellkin.indexer.spaces.expression import fit_expression
from cellkin.indexer.spaces.sample import Sample
from cellkin.space.classifier import DEPTHS
from cellkin.space.labels import CellCoverage


@pytest.fixture(scope="module")
def sample() -> Sample:
    return sample_of([60, 50, 40], markers=1.5)


def test_detection_is_a_share_of_cells() -> None:
    cells = sp.csr_matrix(np.array([[1.0, 0, 2], [1, 0, 0]], np.float32))
    one = np.zeros(2, np.int32)
    found, usual = detection_of(Sample(cells, np.arange(3), one, ["a"], one))
    assert found.tolist() == [1, 0, 0.5]
    assert usual == pytest.approx(np.quantile([2 / 1.5, 1 / 1.5], 0.05))


def test_a_calibrated_classifier_knows_what_coverage_costs(sample: Sample) -> None:
    _, classifier, _ = fit_expression_part(sample, Votes(), Judging.CELLS)
    assert len(classifier.detection) == len(sample.gene_ids)
    assert 0 < classifier.usual_depth < 1
    assert classifier.softening >= 0
    assert 0.6 <= classifier.least_of_few <= 1


def test_values_that_are_no_counts_are_asked_of_panels_alone(sample: Sample) -> None:
    rng = np.random.default_rng(0)
    values = sample.cells.copy()
    values.data = rng.gamma(2.0, 1.0, len(values.data)).astype(np.float32)
    odd = replace(sample, cells=values)
    probe = CoverageProbe(3)
    hold_out(odd, fit_expression, Votes(), on_fold=probe.predict)
    _, classifier, _ = fit_expression_part(odd, Votes(), Judging.NOTHING)
    found = probe.fit(classifier, odd)
    assert found.softening == 0
    assert found.least_of_few >= 0.6


def test_what_depth_costs_is_kept(sample: Sample) -> None:
    _, classifier, quality = fit_expression_part(sample, Votes(), Judging.CELLS)
    assert classifier.least_by_depth.shape == (len(DEPTHS) - 1, 3)
    depth = quality["depth"]
    assert depth["genes"] == sorted(depth["genes"])
    assert depth["counts"] == sorted(depth["counts"])
    costs = depth["costs"]
    assert [cost["below"] for cost in costs] == sorted((c["below"] for c in costs), reverse=True)
    # As if a thirtieth of the molecules were left, hardly a label can be claimed.
    assert costs[-1]["at_least"] == 0
    assert costs[-1]["unknown"] > 0.5
    assert all(0 <= cost["wrong"] <= 1 and cost["n_cells"] >= 20 for cost in costs)


def test_a_part_is_not_judged_by_probabilities_that_it_was_asked_for(sample: Sample) -> None:
    _, classifier, _ = fit_expression_part(sample, Votes(), Judging.NOTHING)
    sure = np.tile([0.902, 0.049, 0.049], (30, 1))
    shallow = CellCoverage(np.full(30, 1.0))

    def part(truth: int) -> list[_Draw]:
        truths = np.full(30, truth, np.int32)
        return [_Draw(truths, [sure] * 4, np.full(30, -9.0), shallow)]

    classifier = replace(classifier, usual_depth=1.0, softening=0.0, sharpness=1.0)
    costs = _costs([part(0), part(0), part(1)], classifier)
    assert sum(cost["n_cells"] for cost in costs) == 90
    # The third part, wrong as a whole, keeps the others from claiming; these let it claim all.
    assert max(cost["wrong"] for cost in costs) == 1


@pytest.mark.parametrize("few", [1, 2])
def test_a_label_of_few_cells_has_a_ceiling(few: int) -> None:
    assert ceilings(np.array([30, few])).tolist() == pytest.approx([1, few / (few + 1)])
    assert not len(ceilings(np.array([30, 20])))
