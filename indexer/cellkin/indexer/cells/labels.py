"""Check that the labels of a reference can be learned and evaluated."""

from collections.abc import Mapping

from cellkin.wire.errors import InvalidArgumentError


def require_different(counts: Mapping[str, int], source: str) -> None:
    """Raise an error if there is a single label, or no label has cells to hold out.

    Parameters
    ----------
    counts
        Number of cells by label.
    source
        Where the labels are from, for the message.

    Raises
    ------
    InvalidArgumentError
        If there is one label, or each label has one cell.
    """
    n_cells = sum(counts.values())
    if len(counts) == 1:
        label = next(iter(counts))
        raise InvalidArgumentError(
            f"{source}: 1 label, {label!r} of {n_cells} cells: nothing to tell apart; give cells "
            "of at least two labels. To an index that knows the label cells are added by `cellkin "
            "cells append`, or placed in its space by --like",
            {"n_labels": "1"},
        )
    if counts and max(counts.values()) < 2:
        raise InvalidArgumentError(
            f"{source}: each of {len(counts)} labels has 1 cell, so none can be held out to "
            "measure how sure a label is and what is unknown; give at least 3 cells of each label, "
            "or join labels",
            {"n_labels": str(len(counts))},
        )
