"""Labels that are paths: their ancestors, and what a cell falls back to."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cellkin.space.hierarchy import Hierarchy

LABELS = ["glia", "immune/T/CD4", "immune/T/CD8", "immune/B", "neuron/RGC/a", "neuron/RGC/b"]
HIERARCHY = Hierarchy.of(sorted(LABELS))


def test_ancestors_are_the_parts_of_paths() -> None:
    assert HIERARCHY.ancestors == ["immune", "neuron", "immune/T", "neuron/RGC"]
    labels = sorted(LABELS)
    below = dict(zip(HIERARCHY.ancestors, HIERARCHY.below, strict=True))
    assert [labels[i] for i in np.flatnonzero(below["immune/T"])] == labels[2:4]
    assert below["immune"].sum() == 3
    assert not below["neuron"][labels.index("glia")]


def test_a_name_that_begins_like_another_is_not_below_it() -> None:
    found = Hierarchy.of(["T/a", "T2/a", "T"])
    assert found.ancestors == ["T", "T2"]
    assert found.below.tolist() == [[True, False, True], [False, True, False]]


def test_labels_that_are_no_paths_have_no_fallback() -> None:
    plain = Hierarchy.of(["alpha", "beta"])
    assert plain.ancestors == []
    chances = np.array([[0.4, 0.6]])
    assert plain.fall_back(chances, np.array([True]), 0.1).tolist() == [-1]


chances = arrays.arrays(np.float64, (4, 6), elements=st.floats(0, 1)).map(
    lambda x: (x + 1e-6) / (x + 1e-6).sum(axis=1, keepdims=True)
)


@given(chances, st.floats(0.01, 1), st.lists(st.booleans(), min_size=4, max_size=4))
def test_a_fallback_is_the_deepest_that_is_probable_enough(
    by_label: np.ndarray, least: float, asked: list[bool]
) -> None:
    where = np.array(asked)
    fallen = HIERARCHY.fall_back(by_label, where, least)
    depths = [name.count("/") for name in HIERARCHY.ancestors]
    for cell, ancestor in enumerate(fallen):
        sums = [by_label[cell, below].sum() for below in HIERARCHY.below]
        if not where[cell]:
            assert ancestor == -1
        elif ancestor < 0:
            assert max(sums) < least + 1e-9
        else:
            assert sums[ancestor] >= least - 1e-9
            rivals = [i for i, total in enumerate(sums) if total > least + 1e-9]
            assert all(depths[i] <= depths[ancestor] for i in rivals)
            equals = [sums[i] for i in rivals if depths[i] == depths[ancestor]]
            assert all(total <= sums[ancestor] + 1e-9 for total in equals)


@given(chances)
def test_an_ancestor_is_no_less_probable_than_what_is_below_it(by_label: np.ndarray) -> None:
    everywhere = np.ones(len(by_label), bool)
    for label in range(6):
        above = HIERARCHY.below[:, label]
        if not above.any():
            continue
        # Whatever floor a label passes, one of its ancestors or something deeper passes too.
        for cell, least in enumerate(by_label[:, label]):
            fallen = HIERARCHY.fall_back(by_label, everywhere, least)
            assert fallen[cell] >= 0


def test_a_cell_at_the_very_least_falls_back_alike_in_any_block() -> None:
    rng = np.random.default_rng(0)
    many = Hierarchy.of([f"a/{i}" for i in range(40)] + [f"b/{i}" for i in range(40)])
    by_label = rng.dirichlet(np.ones(80), 200)
    for cell in range(200):
        least = float(np.cumsum(by_label[cell, :40])[-1])
        if least > 0.5:
            whole = many.fall_back(by_label, np.ones(200, bool), least)[cell]
            alone = many.fall_back(by_label[cell : cell + 1], np.ones(1, bool), least)[0]
            assert whole == alone == 0


def test_each_cell_may_have_its_own_least_probability() -> None:
    by_label = np.tile([0.0, 0.3, 0.3, 0.4, 0, 0], (3, 1))
    least = np.array([0.5, 0.7, 1.1])
    fallen = HIERARCHY.fall_back(by_label, np.ones(3, bool), least)
    deepest, whole = (HIERARCHY.ancestors.index(name) for name in ("immune/T", "immune"))
    together = by_label[0, HIERARCHY.below[deepest]].sum()
    assert 0.5 < together < 1
    assert fallen.tolist() == [deepest, deepest if together >= 0.7 else whole, -1]
