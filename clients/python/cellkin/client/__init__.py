"""The Python client of a cellkin server.

>>> from cellkin.client import Client
>>> with Client() as client:                                   # doctest: +SKIP
...     client.search_genes("INS", taxon=9606).neighbors[0]

``tl``, ``pl`` and ``reproduce`` work on AnnData, in scanpy's style, and need the extra ``anndata``;
they are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cellkin.client.aio import AsyncClient
from cellkin.client.calls.contrasts import GroupedCells
from cellkin.client.calls.messages import CellFilter
from cellkin.client.client import Client
from cellkin.client.results.catalog import (
    Alias,
    CellIndex,
    Certificate,
    EmbeddingModel,
    EmbeddingVersion,
    LabelQuality,
    Reloaded,
    RetractedVersion,
    Retraction,
    SpaceQuality,
    StoreBackup,
)
from cellkin.client.results.cells import (
    CellExplanation,
    CellHits,
    Cells,
    Explanations,
    FoundCells,
    SearchReport,
)
from cellkin.client.results.contrasts import Contrast, ContrastReport, RegulatorActivities
from cellkin.client.results.depth import DepthCost, ReferenceDepth
from cellkin.client.results.enrichment import EnrichedSets, Enrichment, SetEnrichment
from cellkin.client.results.gene_sets import (
    GeneSet,
    GeneSetCollection,
    GeneSetMember,
    GeneSetRecord,
)
from cellkin.client.results.genes import (
    Gene,
    GeneFilter,
    GeneNeighborhood,
    GeneRecord,
    ResolvedGenes,
)
from cellkin.client.results.layouts import Layout, LayoutCertificate
from cellkin.client.results.predictions import Prediction, Predictions, QueryReport
from cellkin.client.results.sample import LabelCheck, ReportWarning, SampleCheck
from cellkin.client.results.versions import Versions
from cellkin.client.transport.errors import AnswerWarning
from cellkin.client.transport.tls import Tls
from cellkin.wire.errors import MissingDependencyError

if TYPE_CHECKING:
    from cellkin.client import pl, tl
    from cellkin.client.labels.reproduction import Reproduction, reproduce

__all__ = [
    "Alias",
    "AnswerWarning",
    "AsyncClient",
    "CellExplanation",
    "CellFilter",
    "CellHits",
    "CellIndex",
    "Cells",
    "Certificate",
    "Client",
    "Contrast",
    "ContrastReport",
    "DepthCost",
    "EmbeddingModel",
    "EmbeddingVersion",
    "EnrichedSets",
    "Enrichment",
    "Explanations",
    "FoundCells",
    "Gene",
    "GeneFilter",
    "GeneNeighborhood",
    "GeneRecord",
    "GeneSet",
    "GeneSetCollection",
    "GeneSetMember",
    "GeneSetRecord",
    "GroupedCells",
    "LabelCheck",
    "LabelQuality",
    "Layout",
    "LayoutCertificate",
    "Prediction",
    "Predictions",
    "QueryReport",
    "ReferenceDepth",
    "RegulatorActivities",
    "Reloaded",
    "ReportWarning",
    "Reproduction",
    "ResolvedGenes",
    "RetractedVersion",
    "Retraction",
    "SampleCheck",
    "SearchReport",
    "SetEnrichment",
    "SpaceQuality",
    "StoreBackup",
    "Tls",
    "Versions",
    "pl",
    "reproduce",
    "tl",
]


def __getattr__(name: str) -> Any:
    """Import names that need the extra ``anndata`` on first use."""
    if name not in _NEEDS_ANNDATA:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_NEEDS_ANNDATA[name]}")
    except ImportError as error:
        raise MissingDependencyError(
            f"{__name__}.{name} needs {error.name}, which is not installed; "
            "pip install 'cellkin-client[anndata]'"
        ) from error
    found = module if name in ("pl", "tl") else getattr(module, name)
    globals()[name] = found
    return found


_NEEDS_ANNDATA = {
    "Reproduction": "labels.reproduction",
    "pl": "pl",
    "reproduce": "labels.reproduction",
    "tl": "tl",
}
