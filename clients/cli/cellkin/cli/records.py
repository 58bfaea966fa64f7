"""Results of requests as records for JSON, of commands and of tools for agents."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cellkin.wire.terms import GeneRoute

if TYPE_CHECKING:
    from cellkin.client import CellIndex, Client, GeneNeighborhood, GeneSetCollection
    from cellkin.client.labels.annotation import Annotation
    from cellkin.client.results.contrasts import Contrast

Record = dict[str, Any]


def finite(value: Any) -> Any:
    """Replace non-finite numbers, such as infinite limits, by None, as JSON lacks them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: finite(held) for name, held in value.items()}
    return [finite(held) for held in value] if isinstance(value, list | tuple) else value


def index_rows(client: "Client") -> list[Record]:
    """Return what `cellkin status` tells of each index of a server."""
    return [
        {
            "name": index.name,
            "n_cells": index.n_cells,
            "n_labels": len(index.labels),
            "recipe": index.recipe,
            "embedding": index.versions.embedding,
            "corpus": index.versions.corpus,
            "server": index.versions.server,
            "aliases": list(index.aliases),
            "retracted": index.retraction.reason if index.retraction else "",
            "loaded": index.loaded,
            "control_embedding": index.control_embedding,
            "accuracy": {space: each.accuracy for space, each in index.qualities.items()},
            "weak_labels": {s: list(each.weak_labels) for s, each in index.qualities.items()},
        }
        for index in client.list_cell_indexes()
    ]


def embedding_rows(client: "Client") -> list[Record]:
    """Return the embedding models of a server, each with its newest version."""
    return [
        {"name": model.name, "latest": model.latest_version, "n_versions": model.n_versions}
        for model in client.list_embedding_models()
    ]


def collection_record(collection: "GeneSetCollection") -> Record:
    """Return what a collection of gene sets is."""
    return asdict(collection) | {"kind": collection.kind.label}


def index_record(index: "CellIndex") -> Record:
    """Return all that is known of a cell index."""
    return {
        "version": index.name,
        "created_at": index.create_time.isoformat(),
        "aliases": list(index.aliases),
        "retracted": asdict(index.retraction) if index.retraction else None,
        "n_cells": index.n_cells,
        "dim": index.dim,
        "label_counts": dict(zip(index.labels, index.label_counts.tolist(), strict=True)),
        "batches": list(index.batches),
        "recipe": index.recipe,
        "embedding": index.versions.embedding,
        "control_embedding": index.control_embedding,
        "corpus": index.versions.corpus,
        "loaded": index.loaded,
        "certificate": asdict(index.certificate) if index.certificate else None,
        "qualities": {space: asdict(quality) for space, quality in index.qualities.items()},
        "weak_labels": {s: list(quality.weak_labels) for s, quality in index.qualities.items()},
    }


def neighborhood_record(found: "GeneNeighborhood") -> Record:
    """Return a gene neighborhood; ``neighbors`` are pairs of a gene and its similarity."""
    columns = found.columns()
    extra = [name for name in columns if name not in ("text", "similarity")]
    rows = [
        {name: _plain(columns[name][at]) for name in extra} | asdict(hit)
        for at, hit in enumerate(found.hits)
    ]
    return {
        **({"gene": asdict(found.gene)} if len(found.genes) == 1 else {}),
        "genes": [asdict(gene) for gene in found.genes],
        "unmatched": found.unmatched,
        "neighbors": list(zip(rows, found.similarities.tolist(), strict=True)),
        "score": found.score.label,
        "searched": asdict(found.searched),
        "n_searched": found.n_searched,
        "caution": found.caution,
        "warnings": [asdict(warning) for warning in found.warnings],
        "versions": asdict(found.versions),
    }


def annotation_record(annotation: "Annotation") -> Record:
    """Return the manifest of labels, and the number of cells of each label."""
    shares = annotation.predictions.route_shares
    means = shares.sum(axis=0, dtype=float) / max(len(shares), 1)
    told = {
        **annotation.manifest(),
        "label_counts": annotation.counts(),
        "forced_counts": annotation.forced_counts(),
        "route_shares": {route.label: float(means[route]) for route in GeneRoute},
    }
    return finite(told)  # type: ignore[no-any-return]


def contrast_record(found: "Contrast", n_genes: int | None = None) -> Record:
    """Return a contrast.

    Parameters
    ----------
    found
        The contrast.
    n_genes
        Measured genes of each direction, the strongest; None for all genes.
    """
    genes = found.records()
    return {
        **found.manifest(),
        "genes": genes if n_genes is None else [genes[at] for at in found.strongest(n_genes)],
        "sets": found.sets.records(),
        "regulators": found.regulators.records(),
    }


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
