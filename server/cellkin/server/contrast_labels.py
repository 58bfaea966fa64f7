"""Compare labels of a reference by their stored profiles, without its cells' expression."""

from collections.abc import Sequence

import numpy as np

from cellkin.server.contrast_nulls import PermutedVectors
from cellkin.server.contrast_result import (
    MIN_DETECTED,
    Comparison,
    TestedGenes,
    finish,
    over_genes,
)
from cellkin.server.contrast_warnings import warning
from cellkin.server.loading import LoadedIndex
from cellkin.space.arrays import Int64Vector
from cellkin.space.contrasts import GroupMeans, welch
from cellkin.space.profiles import Profiles
from cellkin.space.separation import separate_expression
from cellkin.v1 import gene_set_service_pb2 as wire
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError

WELCH = "welch"


def compare_labels(
    comparison: Comparison, a: Sequence[str], b: Sequence[str], min_cells: int
) -> wire.ContrastResult:
    """Compare two groups of labels.

    Parameters
    ----------
    comparison
        What to compare them by.
    a, b
        The labels.
    min_cells
        Minimum cells of a group.

    Raises
    ------
    FailedPreconditionError
        If the index has no profiles.
    InvalidArgumentError
        If a group has too few cells.
    """
    loaded = comparison.loaded
    profiles = require_profiles(loaded)
    rows = [profiles.rows_of(labels) for labels in (a, b)]
    (means_a, var_a), (means_b, var_b) = (profiles.means(part) for part in rows)
    for field, means, labels in (("header.a", means_a, a), ("header.b", means_b, b)):
        if means.n_cells < min_cells:
            raise InvalidArgumentError(
                f"the reference has {means.n_cells} cells of {', '.join(labels)}; a contrast needs "
                f"at least {min_cells} in each group",
                field=field,
            )
    detected = means_a.detected * means_a.n_cells + means_b.detected * means_b.n_cells
    tested = np.flatnonzero(np.round(detected) >= MIN_DETECTED)
    statistics, p_values = welch(
        (means_a.log, var_a, means_a.n_cells), (means_b.log, var_b, means_b.n_cells)
    )
    pseudobulk = profiles.pseudobulk_p_values(*rows)
    gene_ids = profiles.gene_ids[tested]
    expression = loaded.reference.require_expression()
    space = expression.space
    z_a, z_b = (
        (over_genes(means.log, profiles.gene_ids, space.gene_ids)[space.variable] - space.means)
        / space.deviations
        for means in (means_a, means_b)
    )
    contributions, _ = separate_expression(z_a, z_b, space)
    genes = TestedGenes(
        gene_ids,
        profiles.gene_ids,
        statistics[tested],
        p_values[tested],
        None if pseudobulk is None else pseudobulk[tested],
        over_genes(contributions, space.gene_ids[space.variable], gene_ids),
        _part(means_a, tested),
        _part(means_b, tested),
    )
    notes = []
    n_cells = int(profiles.counts.sum())
    if n_cells < len(loaded.index.cells.labels):
        notes.append(
            warning(
                "PROFILES_OF_A_SAMPLE",
                f"profiles are of the {n_cells:,} cells that the index was fitted to, of "
                f"{len(loaded.index.cells.labels):,}",
            )
        )
    null = PermutedVectors(loaded, space, a, b)
    return finish(comparison, WELCH, genes, null, notes)


def require_profiles(loaded: LoadedIndex) -> Profiles:
    """Return the profiles of an index.

    Raises
    ------
    FailedPreconditionError
        If it has none, or no expression space.
    """
    if loaded.index.profiles is None or loaded.index.expression is None:
        raise FailedPreconditionError(
            f"{loaded.entry.full_name} has no expression profiles of its labels; make it again by "
            "`cellkin cells index` with an expression space, or send the cells of its reference "
            "with their groups"
        )
    return loaded.index.profiles


def _part(means: GroupMeans, genes: Int64Vector) -> GroupMeans:
    return GroupMeans(means.n_cells, means.log[genes], means.linear[genes], means.detected[genes])
