"""Control embeddings: gene embeddings without biological meaning, as a baseline for others."""

from collections.abc import Mapping
from typing import Any

from cellkin.store.catalog import CatalogView, Entry, Kind
from cellkin.wire.errors import NotFoundError
from cellkin.wire.names import parse_version_name


def is_control(manifest: Mapping[str, Any]) -> bool:
    """Return whether a gene embedding is a control: random, permuted, or of symbols only.

    Parameters
    ----------
    manifest
        Manifest of a version of a gene embedding.
    """
    if "control" in manifest:
        return bool(manifest["control"])
    # Versions made before controls were marked. Names of embeddings loaded from a file have no
    # colon, but one of them may be called `permuted`.
    settings = manifest.get("settings", {})
    model = str(settings.get("model", ""))
    permuted = model == "permuted" and "embedding_digest" in settings
    return permuted or model.startswith("random:") or settings.get("text") == "symbol"


def of_control(view: CatalogView, entry: Entry) -> bool:
    """Return whether the gene embedding of a cell index is a control.

    If so, labels by text are meaningless; labels by expression do not use gene embeddings.

    Parameters
    ----------
    view
        The catalog.
    entry
        A version of a cell index.
    """
    if "control_embedding" in entry.manifest:
        return bool(entry.manifest["control_embedding"])
    return is_control(embedding_manifest(view, entry))


def embedding_manifest(view: CatalogView, entry: Entry) -> Mapping[str, Any]:
    """Return the manifest of the gene embedding of a cell index, empty if the catalog has none."""
    if "embedding" not in entry.manifest:
        return {}
    try:
        wanted = parse_version_name(entry.manifest["embedding"], "gene embedding")
        return view.version(Kind.EMBEDDING, wanted).manifest
    except NotFoundError:
        return {}
