"""Report page of a quickstart."""

import math
from collections.abc import Sequence

from cellkin.indexer.cells.report import NOT_LEFT_OUT
from cellkin.indexer.pages import PAGES
from cellkin.indexer.quickstart.result import Result
from cellkin.pages.render import render
from cellkin.wire.species import taxon_name
from cellkin.wire.terms import UNKNOWN_LABEL

_SHOWN_TYPES = 40


def page(result: Result, commands: Sequence[str]) -> str:
    """Render the page.

    Parameters
    ----------
    result
        The labels with their reference and quality.
    commands
        Commands shown as next steps.
    """
    return render(
        PAGES / "quickstart.html.j2",
        result.to_json(),
        result=result,
        labels=[
            (name, n, share, None if math.isnan(mean) else mean, forced)
            for name, n, share, mean, forced in result.label_rows()
        ],
        bins=result.probability_bins(),
        reasons=[(reason, f"{n:,}") for reason, n in result.reasons().items()],
        genes=_genes(result),
        confusion=result.confusion(),
        commands=commands,
        unknown=UNKNOWN_LABEL,
        not_left_out=NOT_LEFT_OUT[:1].upper() + NOT_LEFT_OUT[1:],
        shown_types=_SHOWN_TYPES,
    )


def _genes(result: Result) -> list[tuple[str, str]]:
    match = dict(result.answer["gene_match"])
    taxon = int(match.pop("taxon", 0))
    rows = [(name.replace("_", " "), str(n)) for name, n in match.items()]
    return [*rows, ("species", taxon_name(taxon) if taxon else "not known")]
