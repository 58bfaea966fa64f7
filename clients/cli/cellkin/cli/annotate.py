"""``cellkin annotate``: label the cells of a file through a server."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from cellkin.cli.cells import query_options
from cellkin.cli.records import annotation_record
from cellkin.terminal.options import json_option, server_option, taxon_option
from cellkin.wire.errors import InvalidArgumentError, MissingDependencyError
from cellkin.wire.terms import UNKNOWN_LABEL

if TYPE_CHECKING:
    from cellkin.client.labels.annotation import Annotation
    from cellkin.client.results.predictions import QueryReport


@click.command()
@query_options
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the labels here: one row a cell to .csv, .tsv (also .gz) or .parquet, or a copy of "
    "QUERY with them as .h5ad, .zarr or .h5mu; may be repeated. Folders are made.",
)
@click.option("--force", is_flag=True, help="Overwrite what -o names.")
@taxon_option
@click.option(
    "--min-probability", type=float, help="Least probability a label may have, in (0, 1]."
)
@click.option(
    "--max-novelty",
    "novelty_limit",
    type=float,
    help="A cell of more novelty is unknown.  [default: the limit stored with the index]",
)
@click.option(
    "--false-alarms",
    type=float,
    metavar="SHARE",
    help="Instead of a limit: the share of known cells that may be called unknown for their "
    "novelty, 0.001 to 0.5.",
)
@click.option(
    "--clusters",
    metavar="COLUMN",
    help="Also give each cluster of this obs column one label: the vote of its cells.",
)
@click.option(
    "--probabilities",
    is_flag=True,
    help="With -o, also write the probability of every label: columns probability:LABEL of a "
    "table, obsm['cellkin_probabilities'] of a copy.",
)
@click.option(
    "--exclude-batch",
    "exclude_batches",
    multiple=True,
    metavar="BATCH",
    help="A batch of the reference that does not vote; may be repeated.",
)
@click.option(
    "--resume",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep answers here as they come; given again after an interrupt, only the rest is asked.",
)
@server_option
@json_option
def annotate(
    query: Path,
    index: str,
    outputs: tuple[Path, ...],
    force: bool,
    server: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Label the cells of QUERY by their nearest reference cells.

    QUERY is an .h5ad, a .zarr, a 10x .h5, a 10x folder of matrix.mtx.gz, a .loom, or a .csv or
    .tsv of genes and cells.

    Warnings about the labels are printed below them as WARNING lines. If the genes of QUERY are
    foreign to the reference, the sample is checked as a whole: a line reports whether it belongs to
    the reference, and cells are unknown if expression does not confirm their label. Fewer than 200
    cells cannot be checked; all of them are then unknown, unless --max-novelty is given.
    """
    try:
        from cellkin.client import annotate as labeling
        from cellkin.matrices.options import ReadOptions
    except ImportError as error:
        raise MissingDependencyError(
            f"annotate needs {error.name}, which is not installed; "
            "pip install 'cellkin-client[anndata]'"
        ) from error
    from cellkin.cli.connection import connect
    from cellkin.terminal.console import progress_bar

    if settings["probabilities"] and not outputs:
        raise InvalidArgumentError("--probabilities are written beside the cells; add -o FILE")
    if force and not outputs:
        raise InvalidArgumentError("--force says that -o may overwrite a file; add -o FILE")
    how = ReadOptions.pop(settings)
    labeling.require_targets(outputs, query, how, overwrite=force)
    # A resumed run may be written to other outputs than it was started for.
    vectors = settings["resume"] is not None or any(map(labeling.is_copy, outputs))
    with connect(server) as client, progress_bar("labeling cells") as progress:
        annotation = labeling.annotate_file(
            client, query, index, how=how, vectors=vectors, progress=progress, **settings
        )
    with ThreadPoolExecutor(1, "tables") as pool:  # while the bytes of large files are copied
        tables = [
            pool.submit(labeling.write_labels, annotation, output, overwrite=force)
            for output in outputs
            if not labeling.is_copy(output)
        ]
        for output in filter(labeling.is_copy, outputs):
            labeling.write_annotation(annotation, query, output, overwrite=force)
        for table in tables:
            table.result()
    if as_json:
        click.echo(json.dumps(annotation_record(annotation), indent=1))
    else:
        _print(annotation, outputs)


def _how(report: "QueryReport") -> str:
    shared = f"{report.shared_expression:.0%} of the reference's expression is in shared genes"
    mean = "the query's own mean" if report.own_mean else "the reference's mean"
    off = f", {mean} subtracted" if report.space == "text" else ""
    error = report.calibration_error
    sure = f"; probabilities were off by {error:.3f} on held-out cells of the reference"
    return f"compared by {report.space}{off}, for {shared}{sure if error > 0 else ''}"


def _label_rows(annotation: "Annotation") -> list[tuple[object, ...]]:
    """Return one row per label; for unknown cells the forced label instead of a probability."""
    columns = annotation.label_columns()
    return [
        (
            label,
            n_cells,
            f"{share:.1%}",
            "" if math.isnan(mean) else f"{mean:.2f}",
            f"{forced} ({n_forced})" if forced else "",
        )
        for label, n_cells, share, mean, forced, n_forced in zip(*columns.values(), strict=True)
    ]


def _print_clusters(annotation: "Annotation") -> None:
    """Print the label of each cluster, if clusters were requested."""
    from cellkin.terminal.console import print_table

    if annotation.clusters is None:
        return
    columns = annotation.clusters.columns()
    print_table(
        f"Labels of the clusters of {annotation.clustered_by}",
        ("cluster", "label", "confidence", "most probable if forced", "cells", "split"),
        [
            (
                cluster,
                label,
                f"{sure:.2f}",
                f"{winner} ({share:.2f})" if winner else "",
                n_cells,
                split,
            )
            for cluster, label, sure, winner, share, n_cells, split in zip(
                *columns.values(), strict=True
            )
        ],
    )
    n_none = len(annotation.predictions.winners) - int(annotation.clusters.n_cells.sum())
    if n_none:
        click.echo(
            f"{n_none:,} cells without a value in {annotation.clustered_by} are in no cluster"
        )


def _warn(annotation: "Annotation") -> None:
    """Print one line per warning, and whether the sample belongs to the reference."""
    for said in annotation.weaknesses():
        click.secho(f"WARNING: {said}", fg="yellow")
    check = annotation.report.sample_check
    if check is not None and (said := check.sentence(annotation.report.versions.index)):
        click.echo(said)


def _print(annotation: "Annotation", outputs: tuple[Path, ...]) -> None:
    from cellkin.terminal.console import print_table
    from cellkin.terminal.quality import NO_EMBEDDING

    report, found = annotation.report, annotation.predictions
    n_cells = len(found.winners)
    print_table(
        f"Genes ({annotation.units.why})",
        ("names", "n", "share of expression"),
        report.match.lines(annotation.mass),
    )
    for note in annotation.notes:
        click.echo(note)
    limit = report.novelty_limit
    far = f" or above novelty {limit:.2f}" if math.isfinite(limit) else ""
    print_table(
        f"Labels of {n_cells} cells by {report.versions.index} ({report.recipe}; "
        f"{UNKNOWN_LABEL} below probability {report.min_probability:g}{far})",
        ("label", "cells", "share", "mean probability", "most probable if forced"),
        _label_rows(annotation),
    )
    _print_clusters(annotation)
    _warn(annotation)
    click.echo(_how(report))
    if n_cells:
        shares = found.matched_shares.tolist()
        least, middle = f"{min(shares):.1%}", f"{median(shares):.1%}"
        click.echo(f"matched share of a cell's expression: median {middle}, least {least}")
    versions = report.versions
    click.echo(f"embedding {versions.embedding or NO_EMBEDDING}, corpus {versions.corpus}")
    for output in outputs:
        click.echo(f"written: {output}")
    if not outputs:
        click.echo("nothing written; add -o labels.csv to keep the labels")
