"""Contrasts and enrichment by the clients and by tl, against a real server."""

import asyncio
from collections.abc import Iterator
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from tests.integration.live import GENES, Live
from tests.integration.test_contrasts import planted, served

import cellkin.client as ck
from cellkin.wire.errors import InvalidArgumentError, NotFoundError
from cellkin.wire.terms import ExpressionUnits

__all__ = ["served"]  # the fixture

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::cellkin.client.AnswerWarning"),
]
PLANTED = {f"GENE{at}" for at in range(11, 21)}


@pytest.fixture
def client(served: Live) -> Iterator[ck.Client]:
    with ck.Client(served.address) as client:
        yield client


@pytest.fixture
def cells() -> anndata.AnnData:
    counts, groups = planted()
    obs = pd.DataFrame(
        {"state": np.where(groups, "well", "sick"), "donor": [f"d{at % 6}" for at in range(60)]},
        index=[f"c{at}" for at in range(60)],
    )
    return anndata.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=GENES))


def contrasted(cells: Any, client: ck.Client, **given: Any) -> ck.Contrast:
    asked = {"a": "sick", "groupby": "state", "collections": ["made"], "batch": "donor"} | given
    return ck.tl.contrast(cells, "trio", client=client, **asked)


def test_planted_genes_and_sets_are_found(client: ck.Client, cells: anndata.AnnData) -> None:
    found = contrasted(cells, client, regulons=["regulons"])
    assert found.title.startswith("sick (30 cells) against well (30 cells): 120 genes by wilcoxon")
    top = found.to_pandas().head(10)
    assert set(top["gene"]) == PLANTED
    assert top["pseudobulk_p_value"].median() < 0.01
    assert [each.name for each in found.sets.called] == ["GENE FAMILY"]
    assert found.regulators.regulators == ("TF",)
    assert found.called_by_chance < 0.2
    assert found.manifest()["collections"]
    assert found.report.match is not None
    # The ranking of the contrast gives its sets again.
    again = ck.tl.enrich(found, ["made"], client=client)
    assert [each.name for each in again.called] == ["GENE FAMILY"]
    listed = ck.tl.enrich(sorted(PLANTED), ["made"], universe=GENES, client=client)
    assert (listed.n_genes, listed.n_universe) == (10, 120)
    assert listed.sets[0].name == "GENE FAMILY"


def test_one_answer_by_file_and_by_the_awaited_client(
    client: ck.Client, cells: anndata.AnnData, served: Live, tmp_path: Any
) -> None:
    right = contrasted(cells, client)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    by_file = contrasted(tmp_path / "cells.h5ad", client)
    np.testing.assert_array_equal(by_file.statistics, right.statistics)
    pd.testing.assert_frame_equal(by_file.sets.to_pandas(), right.sets.to_pandas())
    groups = (cells.obs["state"] == "well").to_numpy(np.uint8)

    async def ask() -> ck.Contrast:
        async with ck.AsyncClient(served.address) as awaited:
            return await awaited.contrast_subtypes(
                "trio", [ck.GroupedCells(cells.X, groups, list(cells.obs["donor"]))], a=["sick"],
                b=["well"], collections=["made"], genes=GENES, units=ExpressionUnits.LINEAR,
            )  # fmt: skip

    found = asyncio.run(ask())
    np.testing.assert_array_equal(found.statistics, right.statistics)
    pd.testing.assert_frame_equal(found.sets.to_pandas(), right.sets.to_pandas())


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"a": "sik"}, InvalidArgumentError, "did you mean sick"),
        ({"a": ["sick", "well"]}, InvalidArgumentError, "group b has no cell"),
        ({"groupby": "stat"}, NotFoundError, "no obs column 'stat'"),
        ({"collections": ["mouse"]}, InvalidArgumentError, "mouse"),
        ({"collections": ["none"]}, NotFoundError, "none"),
        ({"n_permutations": 5}, InvalidArgumentError, "n_permutations is 5"),
    ],
    ids=["misspelled", "one-group", "column", "species", "collection", "permutations"],
)
def test_what_cannot_be_compared(
    client: ck.Client, cells: anndata.AnnData, given: Any, kind: type, said: str
) -> None:
    with pytest.raises(kind, match=said):
        contrasted(cells, client, **given)


def test_a_group_of_one_cell_is_refused(client: ck.Client, cells: anndata.AnnData) -> None:
    cells.obs["state"] = ["sick"] + ["well"] * 59
    with pytest.raises(InvalidArgumentError, match="group a has 1 cell"):
        contrasted(cells, client)


def test_labels_of_the_reference(client: ck.Client) -> None:
    first, *others = client.get_cell_index("trio").labels
    found = ck.tl.contrast(None, "trio", a=first, collections=["made"], client=client)
    assert found.report.a == (first,)
    assert found.report.b == tuple(others)
    assert (found.gene_test, found.report.match) == ("welch", None)
    assert found.fdrs[0] < 0.05
    with pytest.raises(InvalidArgumentError, match="no label 'none'"):
        ck.tl.contrast(None, "trio", a="none", client=client)
