"""``cellkin quickstart``: label the cells of one file by another and write a report."""

import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellkin.terminal.options import json_option, taxon_option
from cellkin.wire.errors import MissingDependencyError
from cellkin.wire.terms import UNKNOWN_LABEL

if TYPE_CHECKING:
    from cellkin.indexer.quickstart.result import Result
    from cellkin.indexer.quickstart.run import Question

_path = click.Path(path_type=Path, exists=True)


@click.command()
@click.argument("reference", type=_path, metavar="REFERENCE")
@click.argument("query", type=_path, metavar="QUERY")
@click.option(
    "--label",
    required=True,
    metavar="COLUMN",
    help="The obs column of REFERENCE that has the labels.",
)
@click.option("--batch", metavar="COLUMN", help="Its obs column of donors or batches.")
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("cellkin-quickstart"),
    show_default=True,
    metavar="DIR",
    help="Where labels.csv, the labeled copy, report.html and the store go.",
)
@click.option("--force", is_flag=True, help="Replace the results that DIR has.")
@taxon_option
@json_option
def quickstart(
    reference: Path,
    query: Path,
    label: str,
    batch: str | None,
    folder: Path,
    force: bool,
    taxon: int,
    as_json: bool,
) -> None:
    """Label the cells of QUERY by the labeled cells of REFERENCE.

    Both are files of cells of the same species, such as .h5ad. Cells are compared by expression:
    neither gene tables nor a language model are needed, and nothing is downloaded. Genes are
    matched by the names in the files, symbols or Ensembl ids.
    """
    try:
        from cellkin.indexer.quickstart.run import Question, commands
        from cellkin.indexer.quickstart.run import quickstart as run

        if find_spec("anndata") is None:  # `cellkin annotate` needs it, which is run at the end
            raise ModuleNotFoundError(name="anndata")
    except ImportError as error:
        raise MissingDependencyError(
            f"quickstart needs {error.name}, which is not installed; "
            "pip install 'cellkin[cells,cpu,server]'"
        ) from error
    from cellkin.terminal.console import progress_bar

    question = Question(reference, query, label, batch, taxon, folder, force)
    result, seconds = run(question, progress_bar)
    if as_json:
        files = {name: str(path) for name, path in _files(question).items()}
        click.echo(json.dumps({**result.to_json(), "files": files, "seconds": seconds}, indent=1))
        return
    _print(result, question)
    click.echo("took " + ", ".join(f"{name} {taken:.1f} s" for name, taken in seconds.items()))
    click.echo("to go on:")
    for command in commands(question):
        click.echo(f"  {command}")


def _files(question: "Question") -> dict[str, Path]:
    from cellkin.indexer.quickstart.run import LABELS, PAGE, STORE

    names = {"labels": LABELS, "cells": question.copy, "page": PAGE, "store": STORE}
    return {what: question.folder / name for what, name in names.items()}


def _print(result: "Result", question: "Question") -> None:
    from cellkin.indexer.cells.report import NOT_LEFT_OUT
    from cellkin.terminal.console import print_table
    from cellkin.terminal.quality import in_short

    print_table(
        f"Labels of {len(result.cells)} cells by {result.index} (expression)",
        ("label", "cells", "share", "mean probability", "most probable if forced"),
        [
            (name, n, f"{share:.1%}", "" if math.isnan(mean) else f"{mean:.2f}", forced)
            for name, n, share, mean, forced in result.label_rows()
        ],
    )
    reasons = ", ".join(f"{n} {why}" for why, n in result.reasons().items())
    if reasons:
        click.echo(f"{UNKNOWN_LABEL}: {reasons}")
    for said in result.warnings:
        click.secho(f"WARNING: {said}", fg="yellow")
    if result.quality is not None:
        click.echo(in_short("expression", result.quality))
        click.echo(NOT_LEFT_OUT)
    confusion = result.confusion()
    if confusion is not None and confusion.agreement is not None:
        click.echo(
            f"{confusion.agreement:.1%} of the labels are those of QUERY's own column "
            f"{result.label!r}"
        )
    for path in _files(question).values():
        click.echo(f"written: {path}")
