"""What an evaluation says of cells is what a server of the same reference says of them."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from tests.integration.live import GENES, Live, block, live_server

from cellkin.client.results.predictions import read_predictions, read_report
from cellkin.indexer.cells.job import index_cells
from cellkin.indexer.cells.sources import Reference
from cellkin.indexer.evaluation.models import FittedMethod, SpaceMethod, TextGenes
from cellkin.indexer.evaluation.reading import read_labeled
from cellkin.space.recipe import TEXT_V1, TEXT_V2
from cellkin.store.catalog import Kind
from cellkin.store.corpus import GeneNames, read_gene_names
from cellkin.store.store import Store
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.names import VersionName, parse_version_name

pytestmark = pytest.mark.integration
Make = Callable[..., anndata.AnnData]
EMBEDDING = VersionName("random-64-7")


REFERENCES = {
    "both spaces, batches": (TEXT_V2, "donor", True),
    "both spaces, no batches": (TEXT_V2, None, True),
    "text alone, batches": (TEXT_V1, "donor", False),
    "text alone, no batches": (TEXT_V2, None, False),
}
GENES_ASKED = {
    "all genes": GENES,
    "some of the genes": [name for i, name in enumerate(GENES) if i % 3],
    "foreign genes": [f"Gene{i}" for i in range(1, 121)],
}


@dataclass(frozen=True)
class Both:
    """A server, and by reference what an evaluation fitted to it."""

    live: Live
    names: GeneNames
    types: list[str]
    fitted: dict[str, FittedMethod]


@pytest.fixture(scope="module")
def both(
    store_path: Path, make_cells: Make, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("both")
    path = Path(shutil.copytree(store_path, folder / "store"))
    cells = make_cells(240, 81)
    cells.obs.loc[cells.obs_names[:30], "cell_type"] = "rare"
    cells.write_h5ad(folder / "cells.h5ad")
    store = Store.open(str(path))
    embedding = store.catalog.resolve(Kind.EMBEDDING, EMBEDDING)
    corpus = parse_version_name(embedding.manifest["corpus"], "corpus")
    names = read_gene_names(store, store.catalog.version(Kind.CORPUS, corpus))
    texts = TextGenes.of(names, store.embedding(embedding))
    fitted = {}
    for number, (name, (recipe, batch, expression)) in enumerate(REFERENCES.items()):
        reference = Reference([folder / "cells.h5ad"], "cell_type", batch)
        index_cells(store, f"same-{number}", reference, EMBEDDING, recipe, expression=expression)
        method = SpaceMethod("same", texts, recipe, expression=expression)
        known, types, _ = read_labeled(folder / "cells.h5ad", names, "cell_type", batch)
        batches = known.batches if batch else None
        fitted[name] = method.fit(known.counts, known.genes, known.labels, batches)
    with live_server(path) as live:
        yield Both(live, names, types, fitted)


def compare(said: Any, found: Any) -> None:
    """Compare an evaluation's answer with a server's."""
    assert np.array_equal(said.codes, found.winners)
    assert np.array_equal(said.reasons, found.reasons)
    assert np.array_equal(said.unknown, found.reasons != 0)
    assert said.probability.tobytes() == found.probabilities.tobytes()
    assert said.novelty.tobytes() == found.novelties.tobytes()


@pytest.mark.parametrize("n_cells", [60, 330])
@pytest.mark.parametrize("genes", GENES_ASKED)
@pytest.mark.parametrize("name", REFERENCES)
def test_an_evaluation_says_what_a_server_says(
    both: Both, make_cells: Make, tmp_path: Path, name: str, genes: str, n_cells: int
) -> None:
    columns = GENES_ASKED[genes]
    cells = make_cells(n_cells, 82)
    kept = [f"GENE{gene.upper().removeprefix('GENE')}" for gene in columns]
    cells = cells[:, kept].copy()
    cells.var_names = columns
    cells.write_h5ad(tmp_path / "cells.h5ad")
    number = list(REFERENCES).index(name)
    header = wire.QueryHeader(
        index=f"same-{number}", genes=columns, units=wire.EXPRESSION_UNITS_LINEAR
    )
    request = wire.PredictSubtypesRequest(header=header, cells=block(cells.X))
    answer = both.live.cells.PredictSubtypes(request)
    report, found = read_report(answer.report), read_predictions(answer.predictions)
    asked, _, _ = read_labeled(tmp_path / "cells.h5ad", both.names, "cell_type", types=both.types)
    said = both.fitted[name].predict(asked.counts, asked.genes)
    foreign = genes == "foreign genes"
    shared = REFERENCES[name][2] and not foreign
    assert (report.space, report.foreign) == ("expression" if shared else "text", foreign)
    assert report.own_mean == (foreign and n_cells >= 200)
    compare(said, found)
