"""Which of its cells an index is tested by before it is served."""

import numpy as np
import pytest

from cellkin.server.loading import _probes
from cellkin.store.row_digests import BLOCK_ROWS


@pytest.mark.parametrize("n", [1, 5, 64, 700, BLOCK_ROWS, BLOCK_ROWS + 1, 100_000, 2_000_000])
def test_cells_of_a_few_blocks_are_asked(n: int) -> None:
    rows = _probes(n, "a digest")
    assert (np.diff(rows) > 0).all()
    assert 0 <= rows[0] <= rows[-1] < n
    assert len(np.unique(rows // BLOCK_ROWS)) == min(8, -(-n // BLOCK_ROWS))
    assert len(rows) >= min(n, 33)
    assert len(rows) <= 64


def test_another_version_is_asked_for_others_and_the_same_for_the_same() -> None:
    rows = _probes(100_000, "a digest")
    assert np.array_equal(rows, _probes(100_000, "a digest"))
    assert not np.array_equal(rows, _probes(100_000, "another"))
