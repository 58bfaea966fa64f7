"""What weakens a contrast, said beside it."""

from cellkin.space.contrasts import MIN_BATCHES
from cellkin.space.text_prior import TextPrior
from cellkin.v1 import cell_service_pb2

_FEW_CELLS = 20


def contrast_warnings(
    n_cells: int, replicated: bool, n_called: int, by_chance: float
) -> list[cell_service_pb2.Warning]:
    """Return what weakens a contrast.

    Parameters
    ----------
    n_cells
        Number of cells of the smaller group.
    replicated
        Whether genes were also tested between donors.
    n_called, by_chance
        Sets called, and the mean number under permuted labels.
    """
    found = []
    if n_cells < _FEW_CELLS:
        found.append(
            warning(
                "SMALL_GROUPS",
                f"the smaller group has {n_cells} cells: most differences cannot be told from "
                f"noise at this size; of the sets {n_called} are called, and {by_chance:.2g} on "
                "average if the group labels are permuted",
            )
        )
    elif n_called and by_chance > 0.2 * n_called:
        found.append(
            warning(
                "CALLED_BY_CHANCE",
                f"of the sets {n_called} are called, and {by_chance:.2g} on average if the group "
                "labels are permuted: believe none of them alone",
            )
        )
    if not replicated:
        found.append(
            warning(
                "CELLS_AS_REPLICATES",
                "cells count as independent, though those of a donor are alike: p-values hold for "
                f"these donors alone. With batches of at least {MIN_BATCHES} donors in each group, "
                "genes are also tested between donors",
            )
        )
    return found


def prior_warnings(prior: TextPrior | None) -> list[cell_service_pb2.Warning]:
    """Return what weakens statistics that are predicted from text."""
    if prior is None or prior.explained <= 0:
        return []
    return [
        warning(
            "PREDICTED_FROM_TEXT",
            "statistics of genes that were not measured are predicted from genes of similar text, "
            f"which explains {prior.explained:.1%} of the variance of measured genes: leads to "
            "measure, no results",
        )
    ]


def warning(reason: str, message: str) -> cell_service_pb2.Warning:
    """Return a warning."""
    return cell_service_pb2.Warning(reason=reason, message=message)
