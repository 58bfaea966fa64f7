"""``cellkin subtypes``: compare subtypes by genes, gene sets and regulators."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellkin.cli.cells import opened
from cellkin.cli.records import contrast_record
from cellkin.cli.suggestions import SuggestingGroup
from cellkin.terminal.options import json_option, reading_options, server_option, taxon_option
from cellkin.wire.errors import AlreadyExistsError, InvalidArgumentError

if TYPE_CHECKING:
    from cellkin.client import Client
    from cellkin.client.labels.labeling import Progress
    from cellkin.client.results.contrasts import Contrast

_SHOWN = 10
_LABELS = "cellkin_label"
Rows = list[tuple[object, ...]]


@click.group(cls=SuggestingGroup)
def subtypes() -> None:
    """Compare subtypes by genes, gene sets and regulators."""


@subtypes.command()
@click.argument("index", metavar="INDEX")
@click.option(
    "--a",
    required=True,
    multiple=True,
    metavar="LABEL[,LABEL...]",
    help="Labels of group a, or with --condition its conditions; may be repeated.",
)
@click.option(
    "--b",
    multiple=True,
    metavar="LABEL[,LABEL...]",
    help="Those of group b; may be repeated.  [default: all others]",
)
@click.option(
    "--query",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Compare the cells of this file instead of labels of the reference.",
)
@click.option(
    "--groups",
    metavar="COLUMN",
    help=f"With --query: the obs column of labels.  [default: {_LABELS}]",
)
@click.option(
    "--condition",
    metavar="COLUMN",
    help="With --query: compare conditions, of this obs column, instead of labels.",
)
@click.option("--label", metavar="LABEL", help="With --condition: only cells of this label.")
@click.option(
    "--batch",
    metavar="COLUMN",
    help="With --query: the obs column of donors, for pseudobulk with three a side.",
)
@click.option(
    "--sets",
    "collections",
    multiple=True,
    metavar="NAME[@VERSION]",
    help="A collection of gene sets to test; may be repeated.",
)
@click.option(
    "--regulons",
    multiple=True,
    metavar="NAME[@VERSION]",
    help="A collection of regulons to estimate activities by; may be repeated.",
)
@click.option(
    "--permutations",
    "n_permutations",
    type=int,
    default=100,
    show_default=True,
    metavar="N",
    help="Permutations of group labels that sets called by chance are counted in, 100 to 10,000.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write genes.csv, sets.csv, regulators.csv and contrast.json here; it is made.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="Write a static page with pictures.",
)
@click.option("--force", is_flag=True, help="Overwrite what -o and --page name.")
@reading_options
@taxon_option
@server_option
@json_option
def contrast(
    index: str,
    a: tuple[str, ...],
    b: tuple[str, ...],
    query: Path | None,
    groups: str | None,
    condition: str | None,
    label: str | None,
    batch: str | None,
    collections: tuple[str, ...],
    regulons: tuple[str, ...],
    n_permutations: int,
    output: Path | None,
    page: Path | None,
    force: bool,
    taxon: int,
    server: str | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Compare two groups of labels of INDEX, or two groups of cells of a file.

    A label that has commas is given alone, by an --a or --b of its own. With few cells most sets
    are noise: the result says how many are called when group labels are permuted.
    """  # fmt: skip
    from cellkin.cli.connection import connect

    given = {"--groups": groups, "--condition": condition, "--batch": batch, "--label": label}
    _check(query, given)
    _require_free(output, page, force=force)
    tests: dict[str, Any] = {
        "collections": collections,
        "regulons": regulons,
        "n_permutations": n_permutations,
    }
    with connect(server) as client:
        if query is None:
            known = client.get_cell_index(index).labels
            found = client.contrast_subtypes(
                index, a=split_labels(a, known), b=split_labels(b, known), **tests
            )
        else:
            from cellkin.terminal.console import progress_bar

            columns = (groups, condition, label, batch)
            with progress_bar("comparing cells") as progress:
                found = compare_cells(
                    client, query, index, (a, b), columns, taxon, tests, reading, progress
                )
    written = _write(found, output, page)
    if as_json:
        click.echo(json.dumps(contrast_record(found), indent=1))
        return
    _print(found)
    for path in written:
        click.echo(f"written: {path}")


def split_labels(given: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Split labels that are given as one string, separated by commas.

    Parameters
    ----------
    given
        Labels, or labels joined by commas; what is a known label itself is not split.
    known
        The known labels.
    """
    held = set(known)
    parts = [[text] if text in held else text.split(",") for text in given]
    return tuple(part.strip() for each in parts for part in each if part.strip())


def _check(query: Path | None, given: dict[str, str | None]) -> None:
    named = [option for option, value in given.items() if value is not None]
    if query is None and named:
        raise InvalidArgumentError(f"{named[0]} is of cells; add --query FILE, or leave it out")


def compare_cells(
    client: "Client",
    query: Path,
    index: str,
    groups: tuple[Sequence[str], Sequence[str]],
    columns: tuple[str | None, str | None, str | None, str | None],
    taxon: int | str,
    tests: dict[str, Any],
    reading: dict[str, Any],
    progress: "Progress",
) -> "Contrast":
    """Compare cells of a file: by labels, or by the conditions of the cells of one label.

    Parameters
    ----------
    client
        The client.
    query
        The file.
    index
        ``NAME[@VERSION_OR_ALIAS]`` of the cell index.
    groups
        Labels, or conditions, of the groups a and b.
    columns
        The obs column of labels, None for that of `annotate`; that of conditions; the label whose
        cells are compared by condition; the obs column of donors.
    taxon
        Species of the cells; 0 infers it.
    tests
        Further arguments of `cellkin.client.contrast.Comparison`.
    reading
        The values of `reading_options`.
    progress
        Called with the number of cells read and the total.

    Raises
    ------
    InvalidArgumentError
        If a label picks cells whose conditions are not asked for, or as `contrast_cells`.
    """
    of_labels, condition, label, batch = columns
    if label is not None and condition is None:
        raise InvalidArgumentError(
            "--label picks the cells whose conditions are compared; add --condition COLUMN"
        )
    with opened(query, reading) as cells:
        from cellkin.client.contrast import Comparison, contrast_cells, require_label
        from cellkin.client.queries import WholeQuery

        values = cells.column(condition or of_labels or _LABELS, "groups")
        if label is not None:
            labels = cells.column(of_labels or _LABELS, "labels")
            require_label(label, labels, "--label")
            values = [v if of == label else None for v, of in zip(values, labels, strict=True)]
        known = sorted({value for value in values if value is not None})
        a, b = (split_labels(group, known) for group in groups)
        return contrast_cells(
            client,
            WholeQuery(cells),
            values,
            Comparison(index, a, b, taxon=taxon, **tests),
            batches=None if batch is None else cells.column(batch, "batches"),
            within=label or "",
            progress=progress,
        )


def _require_free(output: Path | None, page: Path | None, *, force: bool) -> None:
    """Check before the comparison that its results can be written."""
    if page is not None:
        from cellkin.client.contrast_page import require_page_libraries

        require_page_libraries()
    taken = [path for path in (output, page) if path is not None and path.exists()]
    if taken and not force and not (taken == [output] and not any(taken[0].iterdir())):
        raise AlreadyExistsError(
            f"{taken[-1]} is there already; give another name, or overwrite it (--force)"
        )


def _write(found: "Contrast", output: Path | None, page: Path | None) -> list[Path]:
    written = []
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        tables = {"genes": found, "sets": found.sets, "regulators": found.regulators}
        for name, table in tables.items():
            written.append(output / f"{name}.csv")
            table.write_csv(written[-1])
        written.append(output / "contrast.json")
        record = json.dumps(contrast_record(found), indent=1)
        written[-1].write_text(record + "\n", encoding="utf-8")
    if page is not None:
        from cellkin.client.contrast_page import contrast_page

        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(contrast_page(found), encoding="utf-8")
        written.append(page)
    return written


def _print(found: "Contrast") -> None:
    from cellkin.cli.enrich import print_sets
    from cellkin.terminal.console import print_table

    click.echo(found.title)
    rows = found.records()
    chosen = found.strongest(_SHOWN)
    for name, sign in ((found.name_a, 1), (found.name_b, -1)):
        at = [int(i) for i in chosen[::sign] if sign * found.statistics[i] > 0]
        print_table(
            f"Genes of {name}",
            ("gene", "statistic", "FDR", "log2 fold", "contribution", "detected in a", "in b"),
            [_gene_row(rows[i]) for i in at],
        )
    for name, positive in ((found.name_a, True), (found.name_b, False)):
        if (sets := found.sets.directed(positive)).sets:
            print_sets(f"Gene sets of {name}", sets, _SHOWN)
    if found.regulators.regulators:
        print_table(
            "Regulators",
            ("regulator", "targets", "score", "FDR", "collection"),
            [
                (r["regulator"], r["n_targets"], f"{r['score']:+.2f}", f"{r['fdr']:.2g}",
                 r["collection"])
                for r in found.regulators.records()[:_SHOWN]
            ],
        )  # fmt: skip
    for warning in found.warnings:
        click.secho(f"WARNING: {warning}", fg="yellow")
    click.echo(found.chance)
    click.echo(f"by index {found.versions.index}")


def _gene_row(gene: dict[str, Any]) -> tuple[object, ...]:
    return (
        gene["gene"], f"{gene['statistic']:+.2f}", f"{gene['fdr']:.2g}",
        f"{gene['log2_fold_change']:+.2f}", f"{gene['contribution']:+.4f}",
        f"{gene['detected_a']:.0%}", f"{gene['detected_b']:.0%}",
    )  # fmt: skip
