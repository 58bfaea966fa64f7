"""Control embeddings: gene vectors that say nothing about genes, kept to measure others against."""

from collections.abc import Mapping
from typing import Any

from cellkin.store.catalog import CatalogView, Entry, Kind
from cellkin.wire.errors import NotFoundError
from cellkin.wire.names import parse_version_name


def is_control(manifest: Mapping[str, Any]) -> bool:
    """Say whether gene vectors are a control: random, permuted, or of symbols only.

    Parameters
    ----------
    manifest
        Of a version of a gene embedding.
    """
    if "control" in manifest:
        return bool(manifest["control"])
    # Versions from before controls were marked. The name of vectors that were loaded from a file
    # has no colon, and one of them may well be called `permuted`.
    settings = manifest.get("settings", {})
    model = str(settings.get("model", ""))
    permuted = model == "permuted" and "embedding_digest" in settings
    return permuted or model.startswith("random:") or settings.get("text") == "symbol"


def of_control(view: CatalogView, entry: Entry) -> bool:
    """Say whether the gene vectors of a cell index are a control.

    Then labels by text mean nothing; those by expression are not made of gene vectors.

    Parameters
    ----------
    view
        The catalog.
    entry
        A version of a cell index.
    """
    if "control_embedding" in entry.manifest:
        return bool(entry.manifest["control_embedding"])
    if "embedding" not in entry.manifest:
        return False
    try:
        wanted = parse_version_name(entry.manifest["embedding"], "gene embedding")
        return is_control(view.version(Kind.EMBEDDING, wanted).manifest)
    except NotFoundError:
        return False
