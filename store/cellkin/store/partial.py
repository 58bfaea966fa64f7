"""Partial gene embeddings: with vectors of the genes of some files only."""

from collections.abc import Mapping
from typing import Any


def n_left_out(manifest: Mapping[str, Any]) -> int:
    """Return how many genes that have a text a gene embedding was made without; 0 if it is whole.

    Parameters
    ----------
    manifest
        Manifest of a version of a gene embedding.
    """
    return int(manifest.get("only", {}).get("n_left_out", 0))


def partial_caution(embedding: str, manifest: Mapping[str, Any]) -> str:
    """Return the warning about answers from a partial gene embedding; empty if it is whole.

    Parameters
    ----------
    embedding
        The version of the gene embedding.
    manifest
        Its manifest.
    """
    if not (n := n_left_out(manifest)):
        return ""
    return (
        f"{embedding} has vectors of the genes of some files only: {n:,} others that have a text "
        "are not found and not matched; `cellkin genes embed` without --for adds them"
    )
