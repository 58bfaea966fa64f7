"""Labelling files of cells, and writing the labels down."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from gzip import GzipFile
from pathlib import Path
from typing import Any

from cellkin.client.annotation import Annotation
from cellkin.client.arguments import typed
from cellkin.client.client import Client
from cellkin.client.labelling import Progress, Settings, label
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
"""Endings of tables of labels."""


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
        The connection.
    path
        A file of any format `cellkin.matrices.cells.open_cells` reads.
    index
        ``NAME[@VERSION_OR_ALIAS]`` of the cell index.
    taxon
        Species of the cells, by NCBI taxonomy id or name (``"mouse"``); 0 infers it from the gene
        names.
    min_probability
        The least probability of a label; None for that stored with the index.
    space
        ``text`` or ``expression``; None lets the server choose by the genes that are shared. Where
        the genes are foreign to the reference and there are at least 200 cells, the query's own
        mean is subtracted and not the reference's, and the sample is checked.
    exclude_batches
        Batches of the reference that do not vote; then neighbors alone decide.
    vectors
        Whether the cells' vectors are wanted.
    novelty_limit
        A cell of more novelty is unknown; None for the limit stored with the index.
    false_alarms
        The share of known cells that may be called unknown for their novelty, in [0.001, 0.5];
        given instead of a limit.
    probabilities
        Whether the probability of every label is wanted.
    clusters
        A column of ``obs`` whose clusters get a label each.
    how
        Which matrix is read, and as what.
    resume
        Folder in which answers are kept, so that an interrupted run can be gone on with.
    progress
        Called with the cells done and the cells there are.

    Raises
    ------
    InputFileError
        If the file cannot be read.
    NotFoundError
        If there is no such column of clusters; before anything is sent.
    GenesUnmatchedError
        If too few genes match; no cell is labelled then.
    CheckpointError
        If the folder is of another query, of other versions or settings.
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
    """Label open cells, whatever holds them.

    Parameters
    ----------
    client, clusters, resume, progress
        As for `annotate_file`.
    query
        The cells.
    settings
        What is asked.
    how
        Which matrix was opened, and as what.

    Raises
    ------
    NotFoundError
        If there is no such column of clusters; before anything is sent.
    GenesUnmatchedError
        If too few genes match; no cell is labelled then.
    CheckpointError
        If the folder is of another query, of other versions or settings.
    """
    groups = None if clusters is None else query.column(clusters)
    found = label(client, query, settings, resume=resume, progress=progress)
    annotation = Annotation.of(found, how)
    return annotation if clusters is None else annotation.clustered(clusters, groups)


def is_copy(target: Path) -> bool:
    """Tell whether a target, by its ending, is a copy of the cells and no table of labels."""
    return target.suffix in COPIES


def require_targets(
    targets: Iterable[Path], source: Path, how: ReadOptions = X, *, overwrite: bool = False
) -> None:
    """Refuse what `write_annotation` or `write_labels` would refuse; before cells are labelled.

    Parameters
    ----------
    targets
        Where the labels will be written.
    source
        The file of cells.
    how
        Which of its matrices is read, and as what.
    overwrite
        Whether targets may be there already.

    Raises
    ------
    InvalidArgumentError
        If an ending is of neither kind, a target is given twice, or it is the source.
    AlreadyExistsError
        If a target is there already.
    InputFileError, ResourceExhaustedError
        If a folder cannot be written to, or has no room.
    MissingDependencyError
        If what writes a target is not installed.
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
    """Write labels as a table, one row a cell: `Annotation.columns`.

    What is missing is an empty field of a text file, and null or NaN in Parquet.

    Parameters
    ----------
    annotation
        The labels.
    target
        ``.csv`` or ``.tsv``, both UTF-8 and with ``.gz`` also compressed, or ``.parquet``. Its
        folder is made; it is written whole or not at all.
    overwrite
        Whether it may be there already.

    Raises
    ------
    InvalidArgumentError
        If the ending is another.
    AlreadyExistsError
        If the target is there already.
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
            # Without a name and a time the same labels are the same bytes.
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
    """Write a copy of a file with the labels beside its cells.

    Adds the columns, arrays and the manifest that `cellkin.client.tl.annotate` describes, and
    ``obsm['X_cellkin']`` where there are vectors.

    Parameters
    ----------
    annotation
        The labels.
    source
        The file that was labelled; stays as it is.
    target
        ``.h5ad``, ``.zarr`` or, of MuData, ``.h5mu``. Its folder is made; it is written whole or
        not at all.
    key_added
        What stands for ``cellkin`` in the names.
    overwrite
        Whether it may be there already.

    Raises
    ------
    InvalidArgumentError
        If the target is the source, or its ending is another.
    AlreadyExistsError
        If the target is there already.
    InputFileError, PermissionDeniedError, ResourceExhaustedError
        If the target cannot be written.
    """
    write_annotated(
        source,
        target,
        obs=annotation.obs(f"{key_added}_"),
        obsm=annotation.obsm(key_added),
        var=annotation.var(f"{key_added}_"),
        uns={key_added: annotation.uns()},
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
    """Return a table of strings where nothing but missing strings is known of a column."""
    arrow = needed("pyarrow", "arrow")
    fields = [f.with_type(arrow.string()) if f.type == arrow.null() else f for f in table.schema]
    return table.cast(arrow.schema(fields))
