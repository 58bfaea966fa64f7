"""``cellkin explain``: which genes make a cell look like a label."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellkin.cli.cells import named, opened, query_options
from cellkin.terminal.options import json_option, server_option, taxon_option

if TYPE_CHECKING:
    from cellkin.client import CellExplanation


@click.command()
@query_options
@click.option(
    "--cell", "cell_ids", multiple=True, required=True, metavar="ID",
    help="A cell of QUERY; may be repeated, up to 64 times.",
)  # fmt: skip
@click.option(
    "--label", default="", help="The subtype to explain.  [default: the nearest to each cell]"
)
@click.option(
    "--genes", "n_genes", type=int, default=20, show_default=True, metavar="N",
    help="Genes to name, 1 to 1000: those that matter most.",
)  # fmt: skip
@taxon_option
@server_option
@json_option
def explain(
    query: Path,
    index: str,
    cell_ids: tuple[str, ...],
    label: str,
    n_genes: int,
    taxon: int,
    layer: str | None,
    raw: bool,
    space: str | None,
    server: str | None,
    as_json: bool,
) -> None:
    """Say which genes make cells of QUERY look like a label.

    The contributions add up to how far the cell lies towards the mean of the label's cells. In the
    text space a gene weighs as much as its share of the cell; in the expression space by its
    z-score, so that lacking a gene speaks too.
    """
    from cellkin.cli.connection import connect
    from cellkin.terminal.console import print_table

    with opened(query, layer=layer, raw=raw) as cells, connect(server) as client:
        found = client.explain_cell(
            index,
            cells.gene_names,
            named(cells, cell_ids),
            units=cells.units.units,
            taxon=taxon,
            label=label,
            n_genes=n_genes,
            space=space,
        )
    if as_json:
        told = [
            {
                "cell": name,
                "label": cell.label,
                "score": cell.score,
                "similarity": cell.similarity,
                "genes": _genes(cell),
                "remainder": cell.remainder,
                "n_remaining": cell.n_remaining,
            }
            for name, cell in zip(cell_ids, found.cells, strict=True)
        ]
        click.echo(
            json.dumps(
                {"versions": asdict(found.versions), "space": found.space, "cells": told}, indent=1
            )
        )
        return
    in_text = found.space == "text"
    weight, weighs = ("share of the cell", "{:.1%}") if in_text else ("z-score", "{:+.2f}")
    for name, cell in zip(cell_ids, found.cells, strict=True):
        rows = [
            (g["symbol"], g["gene_id"], weighs.format(g["weight"]), f"{g['contribution']:+.4f}")
            for g in _genes(cell)
        ]
        print_table(
            f"{name}: {cell.label or 'no gene matched'}, cosine {cell.similarity:.3f}; score "
            f"{cell.score:.4f} = genes below {cell.remainder:+.4f} of {cell.n_remaining} others",
            ("symbol", "GeneID", weight, "contribution"),
            rows,
        )
    click.echo(f"by {found.space} in index {found.versions.index}")


def _genes(cell: "CellExplanation") -> list[dict[str, Any]]:
    columns = cell.columns()
    rows = zip(*(list(column) for column in columns.values()), strict=True)
    return [
        {"gene_id": int(gene_id), "symbol": symbol, "weight": float(w), "contribution": float(part)}
        for gene_id, symbol, w, part in rows
    ]
