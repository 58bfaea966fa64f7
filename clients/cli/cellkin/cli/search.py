"""``cellkin search``: search a server for similar genes or cells."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cellkin.cli.cells import named, opened, query_options
from cellkin.cli.search_genes import genes
from cellkin.cli.suggestions import SuggestingGroup
from cellkin.terminal.options import json_option, server_option, taxon_option
from cellkin.wire.terms import ExpressionUnits


@click.group(cls=SuggestingGroup)
def search() -> None:
    """Search a server for similar genes or cells."""


search.add_command(genes)


@search.command()
@query_options
@click.option(
    "--cell", "cell_ids", multiple=True, metavar="ID",
    help="A cell of QUERY; may be repeated.  [default: all]",
)  # fmt: skip
@taxon_option
@click.option("-k", type=int, default=10, show_default=True, help="Neighbors, 1 to 1000.")
@click.option("--exact", is_flag=True, help="Compare every reference cell; slow on many.")
@server_option
@json_option
def cells(
    query: Path,
    index: str,
    cell_ids: tuple[str, ...],
    taxon: int,
    k: int,
    exact: bool,
    space: str | None,
    server: str | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Find the reference cells nearest to those of QUERY."""
    from cellkin.cli.connection import connect
    from cellkin.client import CellHits
    from cellkin.terminal.console import print_table, progress_bar

    with opened(query, reading) as file, connect(server) as client:
        names = list(cell_ids) or file.cell_ids
        blocks = iter([named(file, cell_ids)]) if cell_ids else file.blocks()
        report, answers = client.stream_search_cells(
            index,
            blocks,
            k=k,
            exact=exact,
            genes=file.gene_names,
            units=ExpressionUnits.LINEAR,
            taxon=taxon,
            space=space,
        )
        parts, done = [], 0
        with progress_bar("searching cells") as progress:
            for part in answers:
                parts.append(part)
                done += len(part.counts)
                progress(done, len(names))
    columns = CellHits.join(parts).columns()
    hits = [
        {
            "cell": names[columns["query"][i]],
            "rank": int(columns["rank"][i]),
            "neighbor": columns["cell_id"][i],
            "label": columns["label"][i],
            "batch": columns["batch"][i],
            "similarity": float(columns["similarity"][i]),
        }
        for i in range(len(columns["row"]))
    ]
    if as_json:
        told = {"versions": asdict(report.versions), "space": report.space, "hits": hits}
        click.echo(json.dumps(told, indent=1))
        return
    print_table(
        f"Cells of {report.versions.index} nearest to {len(names)} of {query.name}, by "
        f"{report.space}",
        ("cell", "rank", "neighbor", "label", "batch", "cosine"),
        [(*list(hit.values())[:-1], f"{hit['similarity']:.3f}") for hit in hits],
    )
