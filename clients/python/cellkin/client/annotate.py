"""Labeling of files of cells, and writing of the labels."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from gzip import GzipFile
from pathlib import Path
from typing import Any

from cellkin.client.arguments import typed
from cellkin.client.client import Client
from cellkin.client.labels.annotation import Annotation
from cellkin.client.labels.labeling import Progress, Settings, label
from cellkin.client.labels.summary import category_colors
from cellkin.client.queries import Query, open_query
from cellkin.client.results.tables import needed
from cellkin.matrices.annotated import check_writable, write_annotated
from cellkin.matrices.copies import COPIES
from cellkin.matrices.options import ReadOptions, X
from cellkin.matrices.targets import replacing, require_target
from cellkin.wire.errors import InvalidArgumentError

_SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
_PARQUET = ".parquet"
TABLES = (*_SEPARATORS, _PARQUET)
"""File name endings of tables of labels."""


@typed
def annotate_file(
    client: Client,
    path: Path,
    index: str,
    *,
    taxon: int | str = 0,
    min_probability: float | None = None,
    space: str | None = None,
    exclude_batches: Sequence[str] = (),
    vectors: bool = True,
    novelty_limit: float | None = None,
    false_alarms: float | None = None,
    probabilities: bool = False,
    clusters: str | None = None,
    how: ReadOptions = X,
    resume: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Annotation:
    """Label the cells of a file, reading and sending them in blocks.

    Parameters
    ----------
    client
        The client.
    path
        A file of any format that `cellkin.matrices.cells.open_cells` reads.
    index
        ``NAME[@VERSION_OR_ALIAS]`` of the cell index.
    taxon
        Species of the cells, by NCBI taxonomy id or name (``"mouse"``); 0 infers it from the gene
        names.
    min_probability
        Minimum probability of a label; None for the value stored with the index.
    space
        ``text`` or ``expression``; None lets the server choose by the shared genes. If the genes
        are foreign to the reference and there are at least 200 cells, the query's own mean is
        subtracted instead of the reference's, and the sample is checked.
    exclude_batches
        Batches of the reference that do not vote; labels then depend on neighbors alone.
    vectors
        Whether to return the cell vectors.
    novelty_limit
        Cells of higher novelty are unknown; None for the limit stored with the index.
    false_alarms
        Share of known cells that may be called unknown for their novelty, in [0.001, 0.5]; given
        instead of a limit.
    probabilities
        Whether to return the probability of every label.
    clusters
        A column of ``obs`` whose clusters get one label each.
    how
        The matrix to read, and how to interpret it.
    resume
        Checkpoint folder from which an interrupted run can be resumed.
    progress
        Called with the number of finished cells and the total.

    Raises
    ------
    InputFileError
        If the file cannot be read.
    NotFoundError
        If the column of clusters does not exist; raised before anything is sent.
    GenesUnmatchedError
        If too few genes match; no cell is labeled.
    CheckpointError
        If the checkpoint is from another query, other versions or other settings.
    """
    settings = Settings(
        index, taxon, min_probability, space, tuple(exclude_batches), vectors, novelty_limit,
        false_alarms, probabilities,
    )  # fmt: skip
    with open_query(path, how) as query:
        return annotate_query(
            client, query, settings, how, clusters=clusters, resume=resume, progress=progress
        )


def annotate_query(
    client: Client,
    query: Query,
    settings: Settings,
    how: ReadOptions,
    *,
    clusters: str | None = None,
    resume: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Annotation:
    """Label the cells of an open query.

    Parameters
    ----------
    client, clusters, resume, progress
        As for `annotate_file`.
    query
        The cells.
    settings
        The settings of the request.
    how
        The matrix that was opened, and how it is interpreted.

    Raises
    ------
    NotFoundError
        If the column of clusters does not exist; raised before anything is sent.
    GenesUnmatchedError
        If too few genes match; no cell is labeled.
    CheckpointError
        If the checkpoint is from another query, other versions or other settings.
    """
    groups = None if clusters is None else query.column(clusters)
    found = label(client, query, settings, resume=resume, progress=progress)
    annotation = Annotation.of(found, how)
    return annotation if clusters is None else annotation.clustered(clusters, groups)


def is_copy(target: Path) -> bool:
    """Return whether the target's ending means a copy of the cells, not a table of labels."""
    return target.suffix in COPIES


def require_targets(
    targets: Iterable[Path], source: Path, how: ReadOptions = X, *, overwrite: bool = False
) -> None:
    """Check targets for `write_annotation` and `write_labels` before cells are labeled.

    Parameters
    ----------
    targets
        Files to which the labels will be written.
    source
        The file of cells.
    how
        The matrix to read, and how to interpret it.
    overwrite
        Whether targets may exist.

    Raises
    ------
    InvalidArgumentError
        If an ending is not supported, a target is given twice, or a target is the source.
    AlreadyExistsError
        If a target exists.
    InputFileError, ResourceExhaustedError
        If a folder is not writable, or the disk is full.
    MissingDependencyError
        If a package needed to write a target is not installed.
    """
    seen: set[Path] = set()
    for target in targets:
        if target.resolve() in seen:
            raise InvalidArgumentError(f"{target} is to be written twice; name each file once")
        seen.add(target.resolve())
        if is_copy(target):
            check_writable(source, target, how, overwrite=overwrite)
            continue
        ending = _table_ending(target)
        require_target(target, source, overwrite)
        if ending == _PARQUET:
            needed("pyarrow.parquet", "arrow")


def write_labels(annotation: Annotation, target: Path, *, overwrite: bool = False) -> None:
    """Write labels as a table with one row per cell: `Annotation.columns`.

    Missing values are empty fields in text files, and null or NaN in Parquet.

    Parameters
    ----------
    annotation
        The labels.
    target
        ``.csv`` or ``.tsv``, both UTF-8 and with ``.gz`` also compressed, or ``.parquet``. Its
        folder is created; it is written atomically.
    overwrite
        Whether the target may exist.

    Raises
    ------
    InvalidArgumentError
        If the ending is not supported.
    AlreadyExistsError
        If the target exists.
    InputFileError, PermissionDeniedError, ResourceExhaustedError
        If it cannot be written.
    MissingDependencyError
        If it is ``.parquet`` and pyarrow is not installed (extra ``arrow``).
    """
    ending = _table_ending(target)
    require_target(target, overwrite=overwrite)
    if ending == _PARQUET:
        parquet, table = needed("pyarrow.parquet", "arrow"), _typed(annotation.to_arrow())
        with replacing(target) as partial:
            parquet.write_table(table, partial)
        return
    frame = annotation.to_pandas()
    with replacing(target) as partial, ExitStack() as stack:
        file: Any = stack.enter_context(partial.open("wb"))
        if ending.endswith(".gz"):
            # Without a name and a time, equal labels give equal bytes.
            file = stack.enter_context(GzipFile("", "wb", fileobj=file, mtime=0))
        frame.to_csv(file, sep=_SEPARATORS[ending], index=False, lineterminator="\n", mode="wb")


def write_annotation(
    annotation: Annotation,
    source: Path,
    target: Path,
    key_added: str = "cellkin",
    *,
    overwrite: bool = False,
) -> None:
    """Write a copy of a file with the labels added to its cells.

    Adds the columns, arrays and the manifest that `cellkin.client.tl.annotate` describes, and
    ``obsm['X_cellkin']`` if there are vectors.

    Parameters
    ----------
    annotation
        The labels.
    source
        The file that was labeled; it is not changed.
    target
        ``.h5ad``, ``.zarr`` or, for MuData, ``.h5mu``. Its folder is created; it is written
        atomically.
    key_added
        Replaces ``cellkin`` in the names.
    overwrite
        Whether the target may exist.

    Raises
    ------
    InvalidArgumentError
        If the target is the source, or its ending is not supported.
    AlreadyExistsError
        If the target exists.
    InputFileError, PermissionDeniedError, ResourceExhaustedError
        If the target cannot be written.
    """
    write_annotated(
        source,
        target,
        obs=annotation.obs(f"{key_added}_"),
        obsm=annotation.obsm(key_added),
        var=annotation.var(f"{key_added}_"),
        uns={key_added: annotation.uns(), **category_colors(annotation, key_added)},
        stale=annotation.stale(key_added),
        how=annotation.how,
        overwrite=overwrite,
    )


def _table_ending(target: Path) -> str:
    name = target.name.lower()
    for ending in TABLES:
        if name.endswith(ending):
            return ending
    raise InvalidArgumentError(
        f"{target}: labels are written as a table, {', '.join(TABLES)}, or beside the cells, "
        f"{', '.join(COPIES)}; give a name with one of these endings"
    )


def _typed(table: Any) -> Any:
    """Return a table in which columns of nulls have the type string."""
    arrow = needed("pyarrow", "arrow")
    fields = [f.with_type(arrow.string()) if f.type == arrow.null() else f for f in table.schema]
    return table.cast(arrow.schema(fields))
