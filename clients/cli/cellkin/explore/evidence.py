"""What is shown of one cell: why it has its label."""

import html
from dataclasses import dataclass
from typing import Any

import pandas as pd
import panel as pn

from cellkin.client import CellHits, Client, Contrast
from cellkin.explore import charts
from cellkin.explore.labeled import Evidence
from cellkin.explore.parts import heading, note, table
from cellkin.wire.errors import FailedPreconditionError

_NEIGHBORS = 10
_GENES = 10


@dataclass(frozen=True)
class ReferenceEvidence:
    """What is known of a cell of the reference.

    Parameters
    ----------
    cell_id, label, batch
        The cell.
    hits
        Its nearest other cells.
    contrast
        Its label compared with the label that is most frequent among the others of its neighbors,
        or with all labels; None if the index has no profiles.
    """

    cell_id: str
    label: str
    batch: str
    hits: CellHits
    contrast: Contrast | None


def of_reference(client: Client, index: str, row: int) -> ReferenceEvidence:
    """Return the evidence of a cell of the reference.

    Parameters
    ----------
    client
        The client.
    index
        Version of the index.
    row
        Row of the reference.
    """
    cell = client.get_cells(index, rows=[row], return_vectors=True)
    hits = client.search_cells(index, cell.vectors, k=_NEIGHBORS + 1).hits
    label = cell.labels[0]
    others = pd.Series([each for each in hits.labels if each != label], dtype=object)
    other = () if others.empty else (str(others.value_counts().index[0]),)
    try:
        contrast = client.contrast_subtypes(index, a=(label,), b=other)
    except FailedPreconditionError:
        contrast = None
    return ReferenceEvidence(cell.cell_ids[0], label, cell.batches[0], hits, contrast)


def reference_view(found: ReferenceEvidence) -> Any:
    """Return what is shown of a cell of the reference."""
    facts = {"label": found.label} | ({"batch": found.batch} if found.batch else {})
    near = _nearest(found.hits, found.cell_id)
    parts = [heading(f"{found.cell_id} (reference)"), _facts(facts), *near]
    if found.contrast is None:
        parts.append(note("The index has no expression profiles to compare labels by."))
    else:
        contrast = found.contrast
        strongest = contrast.strongest(_GENES)
        genes = pd.DataFrame(
            {
                "gene": [contrast.genes[at].symbol for at in strongest],
                "log2 fold change": contrast.log2_fold_changes[strongest],
                contrast.name_a: contrast.means_a[strongest],
                contrast.name_b: contrast.means_b[strongest],
            }
        )
        parts += [
            heading(f"Genes of {contrast.name_a} against {contrast.name_b}, in the reference"),
            table(genes, digits=list(genes)[1:], rows=2 * _GENES),
        ]
    return pn.Column(*parts, sizing_mode="stretch_width")


def query_view(found: Evidence) -> Any:
    """Return what is shown of a cell of a labeled file."""
    parts = [heading(found.title), _facts(found.facts)]
    if found.found is None:
        parts.append(note("No gene of this cell is used, so nothing can be said of it."))
    else:
        parts += [
            heading("Genes for and against the label"),
            charts.contributions(found.found, found.against),
            note(
                f"Cosine similarity to the mean of {found.found.label}: "
                f"{found.found.similarity:.3f}; {found.found.n_remaining:,} other genes sum to "
                f"{found.found.remainder:+.4f}."
            ),
        ]
    return pn.Column(*parts, *_nearest(found.hits, ""), sizing_mode="stretch_width")


def _facts(facts: dict[str, str]) -> Any:
    rows = "".join(
        f"<tr><td>{html.escape(what)}&emsp;</td><td>{html.escape(value)}</td></tr>"
        for what, value in facts.items()
    )
    return pn.pane.HTML(f"<table>{rows}</table>", margin=(0, 10), sizing_mode="stretch_width")


def _nearest(hits: CellHits, itself: str) -> list[Any]:
    frame = pd.DataFrame(hits.columns())[["label", "similarity", "cell_id", "batch"]]
    frame = frame[frame["cell_id"] != itself].head(_NEIGHBORS)
    frame = frame.rename(columns={"cell_id": "cell", "similarity": "cosine"})
    return [heading("Nearest reference cells"), table(frame, digits=["cosine"])]
