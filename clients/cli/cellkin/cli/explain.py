"""``cellkin explain``: gene contributions to the label of a cell or a group of cells."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellkin.cli.cells import opened, query_options, rows_of
from cellkin.terminal.options import json_option, server_option, taxon_option
from cellkin.wire.errors import InvalidArgumentError

if TYPE_CHECKING:
    from cellkin.client import CellExplanation, Client, Explanations
    from cellkin.client.explaining import Group, Groups, Predicted
    from cellkin.matrices.cells import CellFile


@click.command()
@query_options
@click.option(
    "--cell",
    "cell_ids",
    multiple=True,
    metavar="ID",
    help="A cell of QUERY; may be repeated.",
)
@click.option(
    "--by",
    metavar="COLUMN",
    help="Instead of cells: the mean of each group of this obs column, up to 4096 cells of it.",
)
@click.option(
    "--label",
    default="",
    help="The subtype to explain.  [default: the label that `annotate` wrote, or the nearest to "
    "each cell; of a group its name, or its most probable label]",
)
@click.option(
    "--against",
    default="",
    metavar="LABEL",
    help="The subtype to compare it with.  [default: the second label that `annotate` wrote, or "
    "none; of a group the most probable other one]",
)
@click.option(
    "--genes",
    "n_genes",
    type=int,
    default=20,
    show_default=True,
    metavar="N",
    help="Genes to name, 1 to 1000: those that matter most.",
)
@taxon_option
@server_option
@json_option
def explain(
    query: Path,
    index: str,
    cell_ids: tuple[str, ...],
    by: str | None,
    label: str,
    against: str,
    n_genes: int,
    taxon: int,
    space: str | None,
    server: str | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Explain labels of cells or groups of cells of QUERY by gene contributions.

    Contributions sum to the score: the projection of the cell on the direction of the label. The
    weight of a gene is its share of the cell in the text space, and its z-score in the expression
    space, so that absent genes contribute too. Give a copy of QUERY written by `annotate`: its
    columns name the most probable labels.
    """
    from cellkin.cli.connection import connect

    if bool(cell_ids) == (by is not None):
        raise InvalidArgumentError("name cells by --cell, or groups by --by: one of them")
    with opened(query, reading) as cells, connect(server) as client:
        asked = {"label": label, "against": against, "n_genes": n_genes, "space": space}
        if by is not None:
            _explain_groups(client, cells, index, by, taxon, asked, as_json=as_json)
        else:
            _explain_cells(client, cells, index, cell_ids, taxon, asked, as_json=as_json)


def _explain_cells(
    client: "Client",
    cells: "CellFile",
    index: str,
    cell_ids: tuple[str, ...],
    taxon: int,
    asked: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    import numpy as np

    from cellkin.client.explaining import Asked
    from cellkin.client.explaining_cells import explain_cells
    from cellkin.client.queries import WholeQuery

    rows, places = np.unique(rows_of(cells, cell_ids), return_inverse=True)
    found, rivals = explain_cells(
        client, WholeQuery(cells), _predicted(cells), Asked(index, taxon, **asked), rows=rows
    )
    told = [(name, found.cells[at], rivals[at]) for name, at in zip(cell_ids, places, strict=True)]
    if as_json:
        _echo(found, "cells", [{"cell": n, **_record(cell, rival)} for n, cell, rival in told])
        return
    for name, cell, rival in told:
        _print(name, cell, rival, found.space)
    click.echo(f"by {found.space} in index {found.versions.index}")


def _predicted(cells: "CellFile") -> "Predicted | None":
    """Return the labels that `annotate` wrote into the file, None if there are none."""
    from cellkin.client.explaining import Predicted, predicted_columns

    names = [name for name in predicted_columns("cellkin") if name in cells.columns]
    return Predicted.of({name: cells.column(name, "groups") for name in names}, "cellkin")


def _explain_groups(
    client: "Client",
    cells: "CellFile",
    index: str,
    by: str,
    taxon: int,
    asked: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    from cellkin.client.explaining import Asked, explain_groups
    from cellkin.client.queries import WholeQuery
    from cellkin.terminal.console import progress_bar

    groups = cells.column(by, "groups")
    with progress_bar("explaining groups") as progress:
        found = explain_groups(
            client,
            WholeQuery(cells),
            groups,
            _predicted(cells),
            Asked(index, taxon, **asked),
            progress,
        )
    if as_json:
        told = [
            {
                "group": group.name,
                "n_cells": group.n_cells,
                "n_explained": group.n_explained,
                "chosen": group.chosen,
                **_record(group.found, group.against, _expressed(group)),
                "nearest": [asdict(cell) for cell in group.nearest],
            }
            for group in found.groups
        ]
        _echo(found, "groups", told)
        return
    for group in found.groups:
        of = f"{group.name} ({group.n_cells} cells; {group.chosen})"
        _print(of, group.found, group.against, found.space, _expressed(group))
        near = [f"{c.cell_id} ({c.label}; {c.n_cells} of {c.n_drawn})" for c in group.nearest]
        if near:
            click.echo(f"reference cells near most of its cells: {', '.join(near)}")
    click.echo(f"by {found.space} in index {found.versions.index}")


def _echo(found: "Explanations | Groups", what: str, records: list[dict[str, Any]]) -> None:
    told = {"versions": asdict(found.versions), "space": found.space, what: records}
    click.echo(json.dumps(told, indent=1))


def _record(
    cell: "CellExplanation", against: str, more: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    return {
        "label": cell.label,
        "against": against,
        "score": cell.score,
        "similarity": cell.similarity,
        "genes": _genes(cell, more),
        "remainder": cell.remainder,
        "n_remaining": cell.n_remaining,
    }


def _expressed(group: "Group") -> list[dict[str, Any]]:
    """Return expression in and out of a group, and the text source, of its genes."""
    of = group.expression
    values = zip(of.means_in, of.means_out, of.detected_in, of.detected_out, strict=True)
    return [
        {
            "mean_in": _number(mean_in),
            "mean_out": _number(mean_out),
            "detected_in": _number(found_in),
            "detected_out": _number(found_out),
            "text": text,
        }
        for (mean_in, mean_out, found_in, found_out), text in zip(values, group.texts, strict=True)
    ]


def _number(value: Any) -> float | None:
    """Return a number for JSON, None for NaN."""
    return None if value != value else float(value)


def _print(
    name: str,
    cell: "CellExplanation",
    against: str,
    space: str,
    more: Sequence[dict[str, Any]] = (),
) -> None:
    from cellkin.client.results.tables import shown
    from cellkin.terminal.console import print_table

    in_text = space == "text"
    weight, weighs = ("share of the cell", "{:.1%}") if in_text else ("z-score", "{:+.2f}")
    rows = [
        (g["symbol"], g["gene_id"], weighs.format(g["weight"]), f"{g['contribution']:+.4f}",
         *map(shown, list(g.values())[4:]))
        for g in _genes(cell, more)
    ]  # fmt: skip
    heads = ("mean in", "mean out", "detected in", "detected out", "text") if more else ()
    label = cell.label or "no gene matched"
    versus = f" against {against}" if against else ""
    print_table(
        f"{name}: {label}{versus}, cosine {cell.similarity:.3f}; score {cell.score:.4f} = "
        f"genes below {cell.remainder:+.4f} of {cell.n_remaining} others",
        ("symbol", "GeneID", weight, "contribution", *heads),
        rows,
    )


def _genes(cell: "CellExplanation", more: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    columns = cell.columns()
    rows = zip(*(list(column) for column in columns.values()), strict=True)
    return [
        {"gene_id": int(gene_id), "symbol": symbol, "weight": float(w), "contribution": float(part)}
        | (more[at] if more else {})
        for at, (gene_id, symbol, w, part) in enumerate(rows)
    ]
