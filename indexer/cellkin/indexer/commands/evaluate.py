"""``cellkin cells evaluate``: measure label quality against controls."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellkin.indexer.commands.options import (
    literal_labels_option,
    ontology_option,
    store_option,
)
from cellkin.space.recipe import RECIPES
from cellkin.terminal.options import json_option, reading_options, taxon_option
from cellkin.wire.terms import DEFAULT_MODEL

if TYPE_CHECKING:
    from cellkin.indexer.evaluation.rows import Report


@click.command()
@click.argument("reference", type=click.Path(path_type=Path))
@store_option
@click.option(
    "--label", required=True, metavar="COLUMN", help="The obs column of subtypes, or class,subtype."
)
@click.option(
    "--batch", metavar="COLUMN", help="Leave out each donor or batch in turn; else fifths of cells."
)
@click.option("--query", type=click.Path(path_type=Path), help="Ask about these cells instead.")
@click.option("--query-label", metavar="COLUMN", help="Their obs column.  [default: --label]")
@click.option(
    "--embedding",
    "embeddings",
    multiple=True,
    default=(DEFAULT_MODEL,),
    show_default=True,
    metavar="MODEL[@VERSION]",
    help="A row for each; may be repeated.",
)
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    type=click.Choice([*RECIPES, "text-v2-mlp"]),
    default=("text-v2",),
    show_default=True,
    help="Of the text space; may be repeated. No index can be made by text-v2-mlp.",
)
@ontology_option
@literal_labels_option
@click.option("--few-shot", is_flag=True, help="Also with 5, 10, 20 and 50 known cells a type.")
@click.option("--left-out", is_flag=True, help="Also leave every type out: is it called unknown?")
@click.option(
    "--other-genes",
    is_flag=True,
    help="Give the reference half of the genes, the query the rest.",
)
@taxon_option
@reading_options
@click.option(
    "--page",
    type=click.Path(path_type=Path),
    metavar="OUT.html",
    help="Write a page.",
)
@json_option
def evaluate(
    reference: Path,
    uri: str,
    label: str,
    batch: str | None,
    query: Path | None,
    query_label: str | None,
    embeddings: tuple[str, ...],
    recipes: tuple[str, ...],
    ontology: Path | None,
    literal_labels: bool,
    few_shot: bool,
    left_out: bool,
    other_genes: bool,
    taxon: int,
    page: Path | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Measure how well each space predicts the labels of REFERENCE, against controls.

    The controls are PCA with nearest neighbors, class prototypes and logistic regression on
    expression, the majority label and, for text, random and permuted gene vectors with three seeds
    each.
    """
    from cellkin.indexer.evaluation.page import require_page_libraries, write_page
    from cellkin.indexer.evaluation.question import Question, evaluate_cells
    from cellkin.indexer.evaluation.report import summary_table, to_json
    from cellkin.matrices.options import ReadOptions
    from cellkin.store.store import Store
    from cellkin.terminal.console import print_rich, progress_bar

    if page is not None:
        require_page_libraries()
    question = Question(
        reference, label, batch, query, query_label or label, taxon, embeddings, recipes, few_shot,
        left_out, other_genes, ontology, literal_labels, ReadOptions(**reading),
    )  # fmt: skip
    with progress_bar("asking") as progress:
        report: Report = evaluate_cells(Store.open(uri), question, progress)
    if page is not None:
        write_page([report], page)
    if as_json:
        click.echo(json.dumps(to_json([report])))
        return
    print_rich(summary_table(report))
    if page is not None:
        click.echo(f"written: {page}")
