"""``cellkin annotate``: label the cells of a file through a server."""

import json
import math
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click

from cellkin.cli.cells import query_options
from cellkin.terminal.options import json_option, server_option, taxon_option
from cellkin.wire.errors import InvalidArgumentError, MissingDependencyError
from cellkin.wire.terms import UNKNOWN_LABEL, GeneRoute

if TYPE_CHECKING:
    from cellkin.client.annotate import Annotation
    from cellkin.client.results.predictions import QueryReport


@click.command()
@query_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write QUERY with the labels here."
)
@taxon_option
@click.option(
    "--min-probability", type=float, help="Least probability a label may have, in (0, 1]."
)
@click.option(
    "--exclude-batch",
    "exclude_batches",
    multiple=True,
    metavar="BATCH",
    help="A batch of the reference that does not vote; may be repeated.",
)
@server_option
@json_option
def annotate(
    query: Path,
    index: str,
    output: Path | None,
    taxon: int,
    min_probability: float | None,
    space: str | None,
    exclude_batches: tuple[str, ...],
    layer: str | None,
    raw: bool,
    server: str | None,
    as_json: bool,
) -> None:
    """Label the cells of QUERY by their nearest reference cells.

    QUERY is an .h5ad, a .zarr, a 10x .h5, a 10x folder of matrix.mtx.gz or a .loom.
    """
    try:
        from cellkin.client.annotate import annotate_file, write_annotation
    except ImportError as error:
        raise MissingDependencyError(
            f"annotate needs {error.name}, which is not installed; "
            "pip install 'cellkin-client[anndata]'"
        ) from error
    from cellkin.cli.connection import connect
    from cellkin.terminal.console import progress_bar

    if output is not None and output.resolve() == query.resolve():
        raise InvalidArgumentError(f"-o {output} is the query itself; give another file")
    with connect(server) as client, progress_bar("labelling cells") as progress:
        annotation = annotate_file(
            client,
            query,
            index,
            taxon=taxon,
            min_probability=min_probability,
            space=space,
            exclude_batches=exclude_batches,
            layer=layer,
            raw=raw,
            progress=progress,
        )
    if output is not None:
        write_annotation(annotation, query, output)
    if as_json:
        told = {
            **annotation.manifest(),
            "labels": _counts(annotation),
            "route_shares": _mean_route_shares(annotation),
        }
        if math.isinf(told["novelty_limit"]):  # which JSON has no word for
            told["novelty_limit"] = None
        click.echo(json.dumps(told, indent=1))
    else:
        _print(annotation, output)


def _counts(annotation: "Annotation") -> dict[str, int]:
    """Return the labels there are and the cells of each, most first, ties by name."""
    counts = [(str(name), int(n)) for name, n in annotation.labels.value_counts().items() if n]
    return dict(sorted(counts, key=lambda of: (-of[1], of[0])))


def _mean_route_shares(annotation: "Annotation") -> dict[str, float]:
    """Return the share of the expression of a cell that came in by each route, on average."""
    shares = annotation.predictions.route_shares
    means = shares.sum(axis=0, dtype=float) / max(len(shares), 1)
    return {route.label: float(means[route]) for route in GeneRoute}


def _how(report: "QueryReport") -> str:
    shared = f"{report.shared_expression:.0%} of the reference's expression is in shared genes"
    mean = "the query's own mean" if report.own_mean else "the reference's mean"
    off = f", {mean} taken off" if report.space == "text" else ""
    error = report.calibration_error
    sure = f"; probabilities were off by {error:.3f} on held-out cells" if error else ""
    return f"compared by {report.space}{off}, for {shared}{sure}"


def _print(annotation: "Annotation", output: Path | None) -> None:
    from cellkin.terminal.console import print_table

    report, found = annotation.report, annotation.predictions
    n_cells = len(found.winners)
    print_table(
        f"Genes ({annotation.units.why})",
        ("names", "n", "share of expression"),
        report.match.lines(annotation.mass),
    )
    labels = annotation.labels
    rows = [
        (name, n, f"{n / n_cells:.1%}", f"{found.probabilities[labels == name].mean():.2f}")
        for name, n in _counts(annotation).items()
    ]
    limit = report.novelty_limit
    far = f" or above novelty {limit:.2f}" if math.isfinite(limit) else ""
    print_table(
        f"Labels of {n_cells} cells by {report.versions.index} ({report.recipe}; "
        f"{UNKNOWN_LABEL} below probability {report.min_probability:g}{far})",
        ("label", "cells", "share", "mean probability"),
        rows,
    )
    click.echo(_how(report))
    if n_cells:
        shares = found.matched_shares.tolist()
        least, middle = f"{min(shares):.1%}", f"{median(shares):.1%}"
        click.echo(f"matched share of a cell's expression: median {middle}, least {least}")
    versions = report.versions
    click.echo(f"embedding {versions.embedding}, corpus {versions.corpus}")
    click.echo(
        f"written: {output}" if output else "nothing written; add -o OUT.h5ad to keep the labels"
    )
