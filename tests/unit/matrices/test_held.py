"""AnnData that a program holds: layers, raw, backed, views."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

from cellkin.matrices.held import held_cells
from cellkin.matrices.options import ReadOptions
from cellkin.wire.errors import InvalidArgumentError

Make = Callable[[str, anndata.AnnData], Path]


class WithXAmongLayers:
    """AnnData as it is from 0.13 on."""

    def __init__(self, adata: anndata.AnnData) -> None:
        self._adata = adata
        self.layers: dict[str | None, Any] = {None: adata.X, "doubled": adata.layers["doubled"]}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adata, name)


def test_x_among_the_layers_is_none_of_them(data: anndata.AnnData) -> None:
    held = WithXAmongLayers(data)
    assert held_cells(held).matrix.storage.elsewhere == ["layer='doubled'", "raw"]
    doubled = held_cells(held, ReadOptions(layer="doubled")).matrix.rows(0, 90)
    assert doubled.sum() == 2 * data.X.sum()
    with pytest.raises(InvalidArgumentError, match=r"no layer 'x'; it has layer='doubled', raw"):
        held_cells(held, ReadOptions(layer="x"))


@pytest.mark.parametrize("form", ["h5ad", "h5ad csc", "h5ad dense"])
@pytest.mark.parametrize(
    "how", [ReadOptions(), ReadOptions(layer="doubled"), ReadOptions(raw=True)]
)
@pytest.mark.parametrize("of", ["slice", "mask", "list"])
def test_views_of_backed_cells(
    form: str, how: ReadOptions, of: str, data: anndata.AnnData, make_form: Make
) -> None:
    at: Any = {"slice": slice(5, 50), "list": [9, 4, 80]}.get(of, np.arange(90) % 3 == 0)
    backed = anndata.read_h5ad(make_form(form, data), backed="r")
    view, known = backed[at], data[at]
    assert view.is_view
    x = known.raw.X if how.raw else known.layers["doubled"] if how.layer else known.X
    cells = held_cells(view, how)
    assert cells.cell_ids == list(known.obs_names)
    np.testing.assert_array_equal(cells.matrix.rows(0, len(known)).toarray(), x.toarray())
    backed.file.close()


def test_a_backed_file_that_its_view_closed(data: anndata.AnnData, make_form: Make) -> None:
    backed = anndata.read_h5ad(make_form("h5ad", data), backed="r")
    backed[:20].to_memory()
    np.testing.assert_array_equal(held_cells(backed).matrix.rows(0, 90).toarray(), data.X.toarray())
    backed.file.close()
    how = ReadOptions(layer="doubled")
    assert held_cells(backed, how).matrix.rows(0, 90).sum() == 2 * data.X.sum()
    backed.file.close()
