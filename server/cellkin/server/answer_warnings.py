"""Warnings sent with a response, about limits of the index or the query."""

import math

from cellkin.space.labeler import Labeler
from cellkin.space.sample_check import SampleCheck
from cellkin.space.shared_genes import ENOUGH_SHARED
from cellkin.store.catalog import CatalogView, Entry
from cellkin.store.controls import of_control
from cellkin.store.corpus import OWN_NAMES_CAUTION
from cellkin.store.quality import WEAK_AUROC, few_cells_caution, read_qualities
from cellkin.v1 import cell_service_pb2 as wire
from cellkin.wire.terms import BACKGROUND_CELLS, control_caution

# Samples of the reference's tissue have a larger share of confirmed labels.
_MOSTLY = 0.75


def index_warnings(view: CatalogView, entry: Entry, space: str) -> list[wire.Warning]:
    """Return the warnings that hold for every query of an index in a space.

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
        said = control_caution(entry.manifest["embedding"])
        found.append(wire.Warning(reason="CONTROL_EMBEDDING", message=said))
    if entry.manifest.get("own_names"):
        found.append(wire.Warning(reason="OWN_NAMES", message=OWN_NAMES_CAUTION))
    if few := few_cells_caution(entry.manifest):
        labels = sorted(entry.manifest["few_cells"])
        found.append(wire.Warning(reason="LABELS_OF_FEW_CELLS", message=few, labels=labels))
    quality = read_qualities(entry.manifest).get(space)
    if quality is not None and quality.weak_labels:
        names = ", ".join(quality.weak_labels)
        found.append(
            wire.Warning(
                reason="WEAK_LABELS",
                message=f"left out of the reference, cells of {names} were mostly given other "
                f"labels instead of being called unknown (AUROC below {WEAK_AUROC}): cells of a "
                f"type that {entry.full_name} lacks may be labeled in the same way",
                labels=quality.weak_labels,
            )
        )
    if quality is not None and quality.novelty_note:
        found.append(wire.Warning(reason="WEAK_NOVELTY_LIMIT", message=quality.novelty_note))
    return found


def query_warnings(labeler: Labeler) -> list[wire.Warning]:
    """Return the warnings that hold for one query."""
    if not labeler.foreign:
        return _of_shared_genes(labeler)
    check = labeler.sample_check
    if check is not None and not check.belongs:
        return [_not_belonging(check, labeler)]
    found = [
        wire.Warning(
            reason="PROBABILITIES_NOT_MEASURED",
            message="the genes are foreign to the reference: its probabilities were calibrated on "
            "cells of its own genes, and how far they hold here was not measured",
        )
    ]
    if check is None:
        claimed = "no label is claimed unless a limit of novelty is given"
        if labeler.novelty_limit > -math.inf:
            claimed = "labels are claimed by the limit of novelty that was given alone"
        found.insert(
            0,
            wire.Warning(
                reason="SAMPLE_NOT_CHECKED",
                message="the genes are foreign to the reference, and whether the sample is of its "
                f"tissue was not checked: {claimed}. At least {BACKGROUND_CELLS} cells in one file "
                "or object can be checked; cells that come in blocks cannot",
            ),
        )
    elif check.confirmed_share < _MOSTLY:
        found.insert(
            0,
            wire.Warning(
                reason="SAMPLE_PARTLY_CONFIRMED",
                message=f"of the cells' labels no more than {check.confirmed_share:.0%} were "
                "confirmed by expression: much of the sample may be of types or of a tissue that "
                "the reference lacks",
            ),
        )
    return found


def _not_belonging(check: SampleCheck, labeler: Labeler) -> wire.Warning:
    confirmed = (
        f"of its cells' labels {check.confirmed_share:.0%} were confirmed by the expression of "
        f"genes paired by their texts ({check.n_cells} cells, {check.n_genes} pairs)"
    )
    if labeler.novelty_limit == -math.inf:
        confirmed += "; all its cells are unknown"
    few = "a sample of one or two types, or of few genes, looks the same"
    if check.belongs is False:
        return wire.Warning(
            reason="FOREIGN_SAMPLE",
            message=f"the sample does not belong to the reference: {confirmed}. Most likely it is "
            f"of another tissue; {few}",
        )
    return wire.Warning(
        reason="SAMPLE_UNDECIDED",
        message=f"whether the sample belongs to the reference cannot be told: {confirmed}. Give "
        f"all cells and all genes of the sample; {few}",
    )


def _of_shared_genes(labeler: Labeler) -> list[wire.Warning]:
    if labeler.space == "text" and labeler.has_expression:
        return [
            wire.Warning(
                reason="TEXT_INSTEAD_OF_EXPRESSION",
                message="cells are compared by text though their genes are the reference's: text "
                "separates other cell types and tissues from the reference's less well than "
                "expression does; leave the space unset",
            )
        ]
    if labeler.space == "expression" and labeler.shared_expression < ENOUGH_SHARED:
        return [
            wire.Warning(
                reason="FEW_SHARED_GENES",
                message=f"the query's genes have {labeler.shared_expression:.1%} of the "
                "reference's expression: where they say little of what tells two labels apart, a "
                "label is claimed only from a higher probability on, and more cells are unknown "
                "than with all genes; give all genes that were measured",
            )
        ]
    return []
