"""``cellkin cells``: index reference cells."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cellkin.indexer.commands.cells_options import (
    index_choice,
    index_options,
    job_of,
    job_options,
    reference_options,
)
from cellkin.indexer.commands.convert import convert
from cellkin.indexer.commands.evaluate import evaluate
from cellkin.indexer.commands.layout import layout
from cellkin.indexer.commands.options import (
    ontology_option,
    store_option,
)
from cellkin.space.recipe import RECIPES
from cellkin.store.machine import limit_threads, n_cores
from cellkin.terminal.options import json_option
from cellkin.wire.errors import NotFoundError
from cellkin.wire.terms import DEFAULT_MODEL

if TYPE_CHECKING:
    from cellkin.indexer.cells.report import IndexReport
    from cellkin.store.catalog import Entry
    from cellkin.store.store import Store
    from cellkin.wire.names import VersionName

_files = click.argument("files", nargs=-1, required=True, metavar="FILE...")


@click.group()
def cells() -> None:
    """Index reference cells."""
    limit_threads(n_cores())


cells.add_command(convert)
cells.add_command(evaluate)
cells.add_command(layout)


@cells.command()
@_files
@store_option
@click.option("--name", required=True, help="Name of the index.")
@reference_options
@click.option(
    "--embedding",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="MODEL[@VERSION]",
    help="The gene vectors of the text space.",
)
@click.option(
    "--recipe",
    type=click.Choice(list(RECIPES)),
    default="text-v2",
    show_default=True,
    help="How the text space is made; see docs/method.md.",
)
@ontology_option
@click.option(
    "--space",
    type=click.Choice(["both", "text", "expression"]),
    default="both",
    show_default=True,
    help="Where cells are placed: by text and by expression, or by one alone. By expression alone "
    "neither embedding nor corpus is needed.",
)
@click.option(
    "--corpus",
    metavar="NAME[@VERSION]",
    help="With --space expression: the corpus that names the genes.  [default: the store's, or "
    "else the names in the files]",
)
@click.option(
    "--like",
    metavar="INDEX[@VERSION]",
    help="Use the cell space of this index instead of fitting one, so that both can be merged.",
)
@click.option(
    "--false-alarms",
    type=click.FloatRange(0.001, 0.5),
    metavar="SHARE",
    help="The share of known cells that may be called unknown for their novelty.  [default: 0.07]",
)
@click.option(
    "--quick",
    is_flag=True,
    help="Do not leave each label out in turn to measure whether its cells are found unknown; "
    "labels and probabilities stay the same.",
)
@index_options
@job_options
@json_option
@click.pass_context
def index(
    context: click.Context,
    /,
    files: tuple[str, ...],
    uri: str,
    name: str,
    label: str,
    batch: str | None,
    taxon: int,
    literal_labels: bool,
    embedding: str,
    recipe: str,
    ontology: Path | None,
    space: str,
    corpus: str | None,
    like: str | None,
    false_alarms: float | None,
    quick: bool,
    as_json: bool,
    **job: Any,
) -> None:
    """Publish the labeled cells of the FILEs as a cell index.

    A FILE is an .h5ad, a .zarr, a 10x .h5, a 10x folder with matrix.mtx.gz, a .loom, or a pattern
    such as 'data/*.h5ad'. The files may have different genes.
    """
    by_expression = space == "expression"
    _check_space(context, by_expression, corpus, like)
    store, wanted = _found(uri, embedding, by_expression, like)

    from cellkin.indexer.cells.job import index_by_expression, index_cells, place_like
    from cellkin.indexer.cells.sources import Reference
    from cellkin.matrices.cells import expand
    from cellkin.matrices.options import ReadOptions
    from cellkin.wire.names import parse_version_name

    reference = Reference(
        expand(files), label, batch, taxon, ReadOptions.pop(job), ontology, literal_labels
    )
    with job_of(**job, false_alarms=false_alarms, quick=quick) as how:
        if like is not None:
            model = parse_version_name(like, "cell index")
            report = place_like(store, name, reference, model, how)
        elif by_expression:
            named_by = None if corpus is None else parse_version_name(corpus, "corpus")
            report = index_by_expression(store, name, reference, named_by, how)
        else:
            report = index_cells(
                store, name, reference, wanted, RECIPES[recipe], how, expression=space == "both"
            )
    _show(report, store, as_json)


def _check_space(
    context: click.Context, by_expression: bool, corpus: str | None, like: str | None
) -> None:
    """Raise an error for options that do not apply to the requested spaces."""

    def given_of(*names: str) -> list[str]:
        sources = {name: context.get_parameter_source(name) for name in names}
        return [
            f"--{name.replace('_', '-')}"
            for name, source in sources.items()
            if source is not ParameterSource.DEFAULT
        ]

    settled = given_of(
        "space", "embedding", "recipe", "corpus", "ontology", "false_alarms", "quick"
    )
    if like is not None and settled:
        raise click.UsageError(
            f"--like takes the spaces and terms of its index; leave out {' and '.join(settled)}"
        )
    given = given_of("embedding", "recipe")
    if by_expression and given:
        raise click.UsageError(
            f"{' and '.join(given)}: of the text space, which --space expression leaves out"
        )
    if corpus is not None and not by_expression:
        raise click.UsageError(
            "--corpus is of --space expression; an embedding names genes by the corpus it is of"
        )


def _found(
    uri: str, embedding: str, by_expression: bool, like: str | None
) -> "tuple[Store, VersionName]":
    """Open the store and look up the embedding, if one is needed, before any file is read.

    Only an index by expression is made in a store that does not exist yet.

    Raises
    ------
    NotFoundError
        If the embedding does not exist; the message suggests two ways to proceed.
    """
    from cellkin.store.catalog import Kind
    from cellkin.store.store import Store
    from cellkin.wire.names import embedding_name, parse_version_name

    wanted = parse_version_name(embedding_name(embedding), "gene embedding")
    if like is not None:
        return Store.open(uri), wanted
    if by_expression:
        return Store.create(uri), wanted
    try:
        store = Store.open(uri)
        store.catalog.resolve(Kind.EMBEDDING, wanted)
    except NotFoundError as error:
        raise NotFoundError(
            f"{error.message}. Two ways to go on: `--space expression` compares cells by "
            "expression alone and needs no embedding; `cellkin genes import` and `cellkin genes "
            "embed` make one, by which cells of other species are labeled, too",
            error.metadata,
        ) from error
    return store, wanted


@cells.command()
@click.argument("index", metavar="INDEX[@VERSION]")
@_files
@store_option
@reference_options
@index_options
@job_options
@json_option
def append(
    index: str,
    files: tuple[str, ...],
    uri: str,
    label: str,
    batch: str | None,
    taxon: int,
    literal_labels: bool,
    as_json: bool,
    **job: Any,
) -> None:
    """Publish a new version of an index with the labeled cells of the FILEs added.

    The new cells are placed in the index's cell spaces, which stay unchanged; its present cells are
    not placed again.
    """
    from cellkin.indexer.cells.job import append_cells
    from cellkin.indexer.cells.sources import Reference
    from cellkin.matrices.cells import expand
    from cellkin.matrices.options import ReadOptions
    from cellkin.store.store import Store
    from cellkin.wire.names import parse_version_name

    reading = ReadOptions.pop(job)
    reference = Reference(
        expand(files), label, batch, taxon, reading, literal_labels=literal_labels
    )
    base = parse_version_name(index, "cell index")
    store = Store.open(uri)
    with job_of(**job) as how:
        report = append_cells(store, base, reference, how)
    _show(report, store, as_json)


@cells.command()
@click.argument("indexes", nargs=-1, required=True, metavar="INDEX[@VERSION]...")
@store_option
@click.option("--name", required=True, help="Name of the new index.")
@index_options
@json_option
def merge(
    indexes: tuple[str, ...],
    uri: str,
    name: str,
    wanted: str,
    recall: float,
    memory_gib: float | None,
    as_json: bool,
) -> None:
    """Publish the cells of several indexes with the same cell spaces as one index."""
    from cellkin.indexer.cells.job import Job, merge_indexes
    from cellkin.store.store import Store
    from cellkin.terminal.console import progress_bar
    from cellkin.wire.names import parse_version_name

    names = [parse_version_name(index, "cell index") for index in indexes]
    job = Job(index=index_choice(wanted, recall, memory_gib), stages=progress_bar)
    store = Store.open(uri)
    entry = merge_indexes(store, name, names, job)
    if as_json:
        _print_json(entry, store)
    else:
        _show_entry(entry, store)


def _show(report: "IndexReport", store: "Store", as_json: bool) -> None:
    from cellkin.terminal.console import print_table

    if as_json:
        _print_json(report.entry, store)
        return
    for file in report.files:
        title = f"Genes ({file.source.units.why})"
        if len(report.files) > 1:
            title = f"{file.source.path.name}: {file.source.n_cells} cells, {title}"
        print_table(title, ("names", "n", "share of expression"), file.match.lines(file.mass))
        for note in file.source.notes:
            click.echo(note)
    for n, why in (
        (report.n_unlabeled, "without a label"),
        (report.n_empty, "without a gene that counts"),
    ):
        if n:
            click.echo(f"left out: {n} cells {why}")
    _show_speed(report)
    _show_entry(report.entry, store)


def _show_speed(report: "IndexReport") -> None:
    """Print a note if the job spent most of its time reading."""
    total = report.read_s + report.compute_s + report.write_s
    reading = report.read_s / total if total else 0.0
    if reading < 0.5 or report.n_cells < 10_000:
        return
    rate = report.n_cells / report.read_s
    formats = ", ".join(sorted({file.source.format for file in report.files}))
    click.echo(
        f"reading took {reading:.0%} of the time: {rate:,.0f} cells/s a process from {formats}"
        + (
            "; `cellkin cells convert FILE OUT.zarr` writes what reads faster"
            if any(file.source.slow for file in report.files)
            else ""
        )
    )


def _show_entry(entry: "Entry", store: "Store") -> None:
    from cellkin.store.quality import read_qualities
    from cellkin.terminal.console import print_table
    from cellkin.terminal.quality import NO_EMBEDDING, in_short, novelty_caution, weakness

    made = entry.manifest
    print_table(
        f"Cell index {entry.full_name}: {made['n_cells']} cells, "
        f"{made['dim']} dimensions, {made['recipe']}",
        ("label", "cells"),
        made["label_counts"].items(),
    )
    certificate = made["certificate"]
    click.echo(
        f"index {certificate['factory']}, recall@10 {certificate['recall']['10']:.4f} "
        f"({certificate['why']})"
    )
    if not certificate["reached"]:
        click.echo(f"the recall wanted, {certificate['target']:g}, was NOT reached")
    click.echo(f"embedding {made.get('embedding') or NO_EMBEDDING}, corpus {made['corpus']}")
    qualities = read_qualities(made).items()
    # The quality is that of the index the spaces come from; later cells were not evaluated.
    first = next(iter(made.get("merged_from", ())), made.get("appended_to") or made.get("like"))
    if qualities and first:
        click.echo(f"measured of {first} when its spaces were fitted:")
    for space, quality in qualities:
        click.echo(in_short(space, quality))
        for line in (weakness(space, quality), novelty_caution(space, quality.novelty_note)):
            if line:
                click.echo(line)
    for caution in _cautions(entry, store):
        click.echo(f"WARNING: {caution}")


def _cautions(entry: "Entry", store: "Store") -> list[str]:
    from cellkin.indexer.cells.report import cautions_of

    return cautions_of(store.catalog.view(), entry)


def _print_json(entry: "Entry", store: "Store") -> None:
    from cellkin.store.quality import read_qualities

    qualities = read_qualities(entry.manifest).items()
    said = {
        "index": entry.full_name,
        "digest": entry.digest,
        "weak_labels": {space: list(quality.weak_labels) for space, quality in qualities},
        "warnings": _cautions(entry, store),
    }
    click.echo(json.dumps(said | dict(entry.manifest)))
