"""References by whose labels nothing can be told apart are refused, and it is said why."""

import pytest

from cellkin.indexer.cells.labels import require_different
from cellkin.wire.errors import InvalidArgumentError


@pytest.mark.parametrize("counts", [{"a": 1, "b": 2}, {"a": 209, "b": 1}, {"a": 3, "b": 3}, {}])
def test_labels_that_differ_are_taken(counts: dict[str, int]) -> None:
    require_different(counts, "cells.h5ad")


@pytest.mark.parametrize("n_cells", [1, 210])
def test_one_label_is_refused(n_cells: int) -> None:
    said = rf"cells.h5ad: 1 label, 'beta' of {n_cells} cells.*at least two labels.*append.*--like"
    with pytest.raises(InvalidArgumentError, match=said):
        require_different({"beta": n_cells}, "cells.h5ad")


@pytest.mark.parametrize("n_labels", [7, 210])
def test_labels_of_one_cell_each_are_refused(n_labels: int) -> None:
    counts = {f"type {i}": 1 for i in range(n_labels)}
    with pytest.raises(InvalidArgumentError, match=f"each of {n_labels} labels has 1 cell"):
        require_different(counts, "cells.h5ad")
