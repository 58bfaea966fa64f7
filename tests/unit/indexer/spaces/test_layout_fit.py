"""A layout: fitted to a sample, the rest placed, measured beside chance."""

import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from cellkin.indexer.spaces import layout as fitting
from cellkin.indexer.spaces.layout import fit_layout
from cellkin.space.layout import Layout
from cellkin.space.vectors import unit_rows
from cellkin.store.certificate import LayoutCertificate
from cellkin.wire.errors import FailedPreconditionError, MissingDependencyError

Floats = npt.NDArray[np.float32]


class Vectors:
    """Vectors of cells in memory, as an index holds them."""

    def __init__(self, rows: Floats) -> None:
        self._rows = rows
        self.n = len(rows)

    def take(self, rows: npt.NDArray[np.int64]) -> Floats:
        return self._rows[rows]

    def batches(self) -> Iterator[Floats]:
        yield from np.array_split(self._rows, 3)


def groups(n: int, seed: int = 0) -> tuple[Floats, npt.NDArray[np.int32]]:
    """Return cells of four labels around four directions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n).astype(np.int32)
    vectors = rng.normal(size=(4, 12))[labels] + 0.5 * rng.normal(size=(n, 12))
    return unit_rows(vectors.astype(np.float32)), labels


def fit(vectors: Floats, labels: npt.NDArray[np.int32]) -> tuple[Layout, LayoutCertificate]:
    return fit_layout({"text": Vectors(vectors)}, labels)  # type: ignore[dict-item]


@pytest.fixture
def without_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Principal components: UMAP is compiled anew in every process, for ten seconds."""
    monkeypatch.setattr(fitting, "_embedded", fitting._principal)


@pytest.mark.usefixtures("without_umap")
def test_the_rest_is_placed_as_queries_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "FITTED_CELLS", 80)
    vectors, labels = groups(300)
    layout, certificate = fit(vectors, labels)
    assert certificate.n_fitted == len(layout.fitted) == 80
    rest = np.setdiff1d(np.arange(300), layout.fitted)
    placed = layout.place(vectors[rest], "text")
    np.testing.assert_array_equal(layout.positions[rest], placed)
    again, _ = fit(vectors, labels)
    np.testing.assert_array_equal(again.positions, layout.positions)


@pytest.mark.usefixtures("without_umap")
def test_a_layout_is_measured_beside_chance() -> None:
    vectors, labels = groups(400)
    layout, certificate = fit(vectors, labels)
    assert certificate.permuted_trustworthiness < 0.6
    assert certificate.trustworthiness > 0.8
    assert certificate.placed_trustworthiness > 0.8
    assert LayoutCertificate.from_json(certificate.to_json()) == certificate
    assert np.isfinite(layout.positions).all()


@pytest.mark.usefixtures("without_umap")
def test_a_cell_is_none_of_its_own_neighbors() -> None:
    vectors, _ = groups(60)
    alone = np.arange(60, dtype=np.int32)
    assert not fit(vectors, alone)[0].n_same.any()
    together = np.zeros(60, np.int32)
    assert (fit(vectors, together)[0].n_same == 15).all()
    # Equal cells fill the places of the neighbors, the cell itself not among them.
    equal = np.repeat(vectors[:1], 40, axis=0)
    assert (fit(equal, np.zeros(40, np.int32))[0].n_same == 15).all()


@pytest.mark.parametrize("n", [3, 4, 15])  # too few for a graph
def test_few_cells(n: int) -> None:
    vectors, labels = groups(n)
    layout, certificate = fit(vectors, labels)
    assert np.isfinite(layout.positions).all()
    assert np.isfinite(certificate.trustworthiness)
    assert len(np.unique(layout.positions, axis=0)) == n


def test_two_cells_have_no_layout() -> None:
    with pytest.raises(FailedPreconditionError, match="2 cells"):
        fit(*groups(2))


def test_without_umap_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap.umap_", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'cellkin\[layout\]'"):
        fit(*groups(40))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Tensorflow not installed:ImportWarning")
def test_umap() -> None:
    vectors, labels = groups(500)
    layout, certificate = fit(vectors, labels)
    again, _ = fit(vectors, labels)
    np.testing.assert_array_equal(again.positions, layout.positions)
    assert certificate.trustworthiness > 0.93
    assert certificate.placed_trustworthiness > 0.93
    equal = np.repeat(vectors[:1], 40, axis=0)
    assert np.isfinite(fit(equal, labels[:40])[0].positions).all()
