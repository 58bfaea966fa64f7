"""AnnData that tools write to: what cannot take labels is refused before anything is asked."""

from pathlib import Path

import anndata
import numpy as np
import pytest
from tests.unit.client.fake import FakeServer, client_of

from cellkin.client import tl
from cellkin.wire.errors import GenesUnmatchedError, InvalidArgumentError


class Modalities:
    """An object of several AnnData, as MuData is."""

    mod = {"rna": anndata.AnnData(np.ones((2, 2), np.float32))}  # noqa: RUF012
    shape = (2, 2)


def test_of_several_modalities_one_is_given() -> None:
    with pytest.raises(InvalidArgumentError, match=r"as Modalities; give .+ mdata\['rna'\]"):
        tl.annotate(Modalities(), "trio", client=client_of(FakeServer()))


def test_a_view_of_a_backed_one_takes_no_labels(tmp_path: Path) -> None:
    anndata.AnnData(np.ones((4, 2), np.float32)).write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(InvalidArgumentError, match=r"view\.to_memory\(\), or copy=True"):
        tl.annotate(backed[:2], "trio", client=client_of(FakeServer()))
    backed.file.close()


def test_explaining_names_columns_with_better_gene_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise GenesUnmatchedError("too few genes")

    monkeypatch.setattr(tl, "explain_cells", refuse)
    adata = anndata.AnnData(np.ones((2, 20), np.float32))
    adata.var["ensembl_id"] = [f"ENSG{at:011d}" for at in range(1, 21)]
    with pytest.raises(GenesUnmatchedError, match="--gene-column ensembl_id"):
        tl.explain(adata, "trio", client=client_of(FakeServer()))
