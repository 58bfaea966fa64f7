"""Other tools, where they are installed, and what is said where they are not."""

from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from tests.unit.indexer.evaluation.cells import GENES, made_up_cells

from cellkin.indexer.evaluation import peers
from cellkin.indexer.evaluation.baselines import Baseline
from cellkin.indexer.evaluation.measured import measured
from cellkin.indexer.evaluation.peers import CellTypist, ScanpyIngest, installed_peers
from cellkin.wire.errors import GenesUnmatchedError, MissingDependencyError


def pretend(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(peers, "version", version)


def test_a_peer_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {})
    found, reasons = installed_peers()
    assert found == []
    assert len(reasons) == 2
    assert all('pip install "cellkin[peers]"' in reason for reason in reasons)


def test_versions_that_break_a_peer_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {
        "celltypist": "1.7.1",
        "scikit-learn": "1.9.1",
        "scanpy": "1.11.5",
        "pynndescent": "0.7.0",
    }
    pretend(monkeypatch, broken)
    with pytest.raises(MissingDependencyError, match=r"not work with scikit-learn 1\.9\.1"):
        CellTypist.require()
    with pytest.raises(MissingDependencyError, match=r"not work with pynndescent 0\.7\.0"):
        ScanpyIngest.require()
    pretend(monkeypatch, broken | {"scikit-learn": "1.7.2", "pynndescent": "0.6.0"})
    assert installed_peers() == ([CellTypist(), ScanpyIngest()], [])


@pytest.mark.parametrize(
    "peer",
    # Compiling what ingest searches with takes minutes.
    [CellTypist(), pytest.param(ScanpyIngest(), marks=pytest.mark.slow)],
    ids=lambda peer: peer.name,
)
def test_a_peer_tells_types_apart(peer: Baseline) -> None:
    try:
        peer.require()  # type: ignore[attr-defined]
    except MissingDependencyError as error:
        pytest.skip(error.message)
    counts, labels = made_up_cells(120)
    queries, truth = made_up_cells(40, seed=1)
    fitted = peer.fit(counts, GENES, labels)
    answer = fitted.predict(queries[:, 10:], GENES[10:])
    assert answer.codes.dtype == np.int32
    assert (answer.codes == truth).mean() > 0.8
    with pytest.raises(GenesUnmatchedError):
        fitted.predict(queries, [name.upper() for name in GENES])


def test_a_run_is_measured() -> None:
    run = measured(lambda: np.ones(40 * 2**20, np.uint8).sum())
    assert run.value == 40 * 2**20
    assert run.seconds > 0
    if run.peak_bytes is None:
        pytest.skip("this system does not say how much memory a process held")
    # The kernel counts in batches of pages.
    assert 39 * 2**20 <= run.peak_bytes < 200 * 2**20
    # A small run after a large one is small.
    after = measured(lambda: None).peak_bytes
    assert after is not None
    assert after < 20 * 2**20
