"""What weakens an answer, as it is said beside it."""

from cellkin.space.labeler import Labeler
from cellkin.store.catalog import CatalogView, Entry
from cellkin.store.controls import of_control
from cellkin.store.quality import WEAK_AUROC, read_qualities
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.terms import BACKGROUND_CELLS


def index_warnings(view: CatalogView, entry: Entry, space: str) -> list[wire.Warning]:
    """Return what is known to weaken all answers of an index in a space, whatever the query.

    Parameters
    ----------
    view
        The catalog.
    entry
        The index.
    space
        ``text`` or ``expression``.
    """
    found = []
    if space == "text" and of_control(view, entry):
        found.append(
            wire.Warning(
                reason="CONTROL_EMBEDDING",
                message=f"the gene vectors of {entry.manifest['embedding']} are a control and say "
                "nothing about genes: labels by text mean nothing; make the index from the "
                "embedding of a language model",
            )
        )
    quality = read_qualities(entry.manifest).get(space)
    if quality is not None and quality.weak_labels:
        names = ", ".join(quality.weak_labels)
        found.append(
            wire.Warning(
                reason="WEAK_LABELS",
                message=f"left out of the reference, cells of {names} were mostly given other "
                f"labels instead of being called unknown (AUROC below {WEAK_AUROC}): cells of a "
                f"type that {entry.full_name} lacks may be labelled in the same way",
                labels=quality.weak_labels,
            )
        )
    if quality is not None and quality.novelty_note:
        found.append(wire.Warning(reason="WEAK_NOVELTY_LIMIT", message=quality.novelty_note))
    return found


def query_warnings(labeler: Labeler) -> list[wire.Warning]:
    """Return what weakens the answers to one query, as far as is known."""
    if not labeler.foreign:
        return []
    found = [
        wire.Warning(
            reason="PROBABILITIES_NOT_MEASURED",
            message="the genes are foreign to the reference: its probabilities were calibrated on "
            "cells of its own genes, and how far they hold here was not measured",
        )
    ]
    check = labeler.sample_check
    if check is None:
        found.append(
            wire.Warning(
                reason="SAMPLE_NOT_CHECKED",
                message="the genes are foreign to the reference, and whether the sample is of its "
                f"tissue was not checked, which takes {BACKGROUND_CELLS} cells as a background: no "
                "cell is unknown for its novelty",
            )
        )
    elif check.belongs is False:
        found.append(
            wire.Warning(
                reason="FOREIGN_SAMPLE",
                message="the sample does not belong to the reference: of its cells' labels "
                f"{check.confirmed_share:.0%} were confirmed by the expression of genes paired by "
                "their texts; all its cells are unknown",
            )
        )
    elif check.belongs is None:
        found.append(
            wire.Warning(
                reason="SAMPLE_UNDECIDED",
                message="whether the sample belongs to the reference could not be told from "
                f"{check.n_cells} cells and {check.n_genes} paired genes",
            )
        )
    return found
