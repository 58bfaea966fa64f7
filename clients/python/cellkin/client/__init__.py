"""The Python client of a cellkin server.

>>> from cellkin.client import Client
>>> with Client() as client:                                   # doctest: +SKIP
...     client.search_genes("INS", taxon=9606).neighbors[0]
"""

from cellkin.client.aio import AsyncClient
from cellkin.client.calls.cells import CellFilter
from cellkin.client.client import Client
from cellkin.client.results.catalog import (
    Alias,
    CellIndex,
    Certificate,
    EmbeddingModel,
    EmbeddingVersion,
    Reloaded,
    RetractedVersion,
    Retraction,
)
from cellkin.client.results.cells import (
    CellExplanation,
    CellHits,
    Cells,
    Explanations,
    FoundCells,
    SearchReport,
)
from cellkin.client.results.genes import Gene, GeneNeighborhood, GeneRecord, ResolvedGenes
from cellkin.client.results.predictions import Prediction, Predictions, QueryReport
from cellkin.client.results.versions import Versions
from cellkin.client.tls import Tls

__all__ = [
    "Alias",
    "AsyncClient",
    "CellExplanation",
    "CellFilter",
    "CellHits",
    "CellIndex",
    "Cells",
    "Certificate",
    "Client",
    "EmbeddingModel",
    "EmbeddingVersion",
    "Explanations",
    "FoundCells",
    "Gene",
    "GeneNeighborhood",
    "GeneRecord",
    "Prediction",
    "Predictions",
    "QueryReport",
    "Reloaded",
    "ResolvedGenes",
    "RetractedVersion",
    "Retraction",
    "SearchReport",
    "Tls",
    "Versions",
]
