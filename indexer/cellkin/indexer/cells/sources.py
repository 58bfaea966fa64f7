"""Read the cell names, labels and batches of a reference's files."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cellkin.indexer.cells.donors import find_donors
from cellkin.matrices.cells import open_cells
from cellkin.matrices.options import ReadOptions, X
from cellkin.matrices.units import UnitsFinding
from cellkin.wire.errors import InvalidArgumentError

_NAMED = 20
# Average cells per batch; with fewer, a batch is hardly a donor.
_CELLS_A_BATCH = 2


@dataclass(frozen=True)
class Reference:
    """Reference cells to index.

    Parameters
    ----------
    paths
        Files of cells in any format `cellkin.matrices` reads; each may have its own genes.
    label
        The obs column of labels.
    batch
        The obs column of donors or batches; None makes each of several files a batch, see
        `batch_names`.
    taxon
        NCBI taxonomy id of the cells; 0 infers it from the gene names, file by file.
    how
        Which matrix of each file is read, and how.
    ontology
        OBO file of which the labels are terms, or None.
    literal_labels
        Whether words such as ``unknown`` and ``nan`` are labels too; see `read_labels`.
    terms
        Path of each label that is an ontology term, if known without the ontology.
    """

    paths: Sequence[Path]
    label: str
    batch: str | None = None
    taxon: int = 0
    how: ReadOptions = X
    ontology: Path | None = None
    literal_labels: bool = False
    terms: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceFile:
    """One file of a reference, without its matrix.

    Parameters
    ----------
    path
        The file.
    gene_names
        Names of its columns.
    units
        Detected units of its values.
    rows
        (n_cells,) table of ``id``, ``label`` (null if missing) and ``batch``.
    format
        Description of the file format.
    slow
        Whether its compression or format slows down reading.
    in_memory
        Whether reading it loads all of it.
    notes
        Notes for the user on how it was read.
    likely_batch
        An obs column that plainly has donors, if neither a batch column nor several files were
        given; else empty.
    gene_hint
        Sentence on var columns whose gene names may be better than those that were read.
    """

    path: Path
    gene_names: list[str]
    units: UnitsFinding
    rows: pa.Table
    format: str
    slow: bool
    in_memory: bool
    notes: list[str]
    likely_batch: str = ""
    gene_hint: str = ""

    @property
    def n_cells(self) -> int:
        """Number of cells of the file."""
        return len(self.rows)

    @property
    def labels(self) -> set[str]:
        """Labels that occur in the file."""
        return set(self.rows["label"].unique().to_pylist()) - {None}

    def renamed(self, labels: Mapping[str, str]) -> "SourceFile":
        """Return the file with labels replaced, by old label."""
        if not labels:
            return self
        codes = self.rows["label"].combine_chunks().dictionary_encode()
        names = [labels.get(name, name) for name in codes.dictionary.to_pylist()]
        column = pa.array(names, pa.string()).take(codes.indices)
        at = self.rows.schema.get_field_index("label")
        return replace(self, rows=self.rows.set_column(at, "label", column))


def read_sources(reference: Reference, taken: Collection[str] = ()) -> list[SourceFile]:
    """Read everything about the files of a reference but their matrices.

    Parameters
    ----------
    reference
        The files and how they are read.
    taken
        Batch names that no file may get, such as those of an index that is appended to.

    Raises
    ------
    InputFileError
        If a file is missing or cannot be read.
    NotFoundError
        If a file lacks the label or the batch column.
    InvalidArgumentError
        If cell names repeat, values are not expression, or no cell has a label.
    """
    if not reference.paths:
        raise InvalidArgumentError("no files to index; give one or more")
    names = batch_names(reference.paths, taken) if len(reference.paths) > 1 else [""]
    sources = [
        _read_source(reference, path, name)
        for path, name in zip(reference.paths, names, strict=True)
    ]
    require_unique([(str(source.path), source.rows["id"]) for source in sources])
    if all(source.rows["label"].null_count == source.n_cells for source in sources):
        raise InvalidArgumentError(
            f"{sources[0].path}: every cell's label in {reference.label!r} is missing, or a word "
            "for that such as unknown; give another column"
            + ("" if reference.literal_labels else ", or --literal-labels where it is a type")
        )
    return sources


def batch_names(paths: Sequence[Path], taken: Collection[str] = ()) -> list[str]:
    """Return a distinct batch name for each file: the shortest end of its path that tells it apart.

    This is the file name without suffix, such as ``d1``; where others have the same, the file name,
    or either of them after as many parent folders as needed, such as ``donor1/matrix``.

    Parameters
    ----------
    paths
        The files.
    taken
        Names that are not used.
    """
    found = []
    ends = [list(_path_ends(path)) for path in paths]
    for own in ends:
        others = {end for each in ends if each is not own for end in each}.union(taken)
        found.append(next((end for end in own if end not in others), own[-1]))
    return found


def _path_ends(path: Path) -> Iterator[str]:
    """Yield the ends of an absolute path, each without and with the suffix, shortest first."""
    path = path.absolute()
    folders = path.parent.parts
    for n in range(len(folders) + 1):
        above = folders[len(folders) - n :]
        yield Path(*above, path.stem).as_posix()
        yield Path(*above, path.name).as_posix()


def require_unique(named: Sequence[tuple[str, pa.ChunkedArray]]) -> None:
    """Raise an error if cell names occur more than once.

    Parameters
    ----------
    named
        Sources and their cell names.

    Raises
    ------
    InvalidArgumentError
        If names repeat; the message lists them and their sources.
    """
    counts = pc.value_counts(pa.chunked_array([c for _, ids in named for c in ids.chunks]))
    counts = pa.Table.from_struct_array(counts)
    repeated = counts.filter(pc.greater(counts["counts"], 1))["values"]
    if not len(repeated):
        return
    shown = repeated.slice(0, _NAMED).to_pylist()
    where = [w for w, ids in named if pc.any(pc.is_in(ids, repeated.combine_chunks())).as_py()]
    more = f" and {len(repeated) - len(shown)} more" if len(repeated) > len(shown) else ""
    raise InvalidArgumentError(
        f"{len(repeated)} cell names repeat in {', '.join(where)}: {', '.join(shown)}{more}; make "
        "names unique, such as by the sample's name in front, so that an answer can name its cells"
    )


def _read_source(reference: Reference, path: Path, file_batch: str) -> SourceFile:
    with open_cells(path, reference.how) as cells:
        labels = cells.labels(reference.label, literal=reference.literal_labels)
        notes = [*cells.notes, *filter(None, [cells.units.caution]), *labels.notes]
        likely_batch = ""
        if reference.batch:
            batches = [b or "" for b in cells.column(reference.batch, "batch")]
            notes += _doubts(reference, batches, labels.values)
        else:
            batches = [file_batch] * cells.n_cells
        if not reference.batch and not file_batch:
            likely_batch = find_donors(
                cells.columns, lambda name: cells.column(name, "batch"), reference.label
            )
        rows = pa.table(
            {
                "id": pa.chunked_array([pa.array(cells.cell_ids, pa.string())]),
                "label": pa.array(labels.values, pa.string()),
                "batch": pa.array(batches, pa.string()),
            }
        )
        return SourceFile(
            path,
            cells.gene_names,
            cells.units,
            rows,
            cells.matrix.storage.format,
            cells.matrix.storage.slow,
            cells.matrix.storage.in_memory,
            notes,
            likely_batch,
            cells.gene_hint(),
        )


def _doubts(
    reference: Reference, batches: Sequence[str], labels: Sequence[str | None]
) -> list[str]:
    """Return warnings that a batch column is not of donors: one batch per cell or per label."""
    n_batches = len(set(batches))
    said = f"WARNING: the batch column {reference.batch!r} has"
    instead = "give a column of donors or samples, or leave --batch out"
    if n_batches > len(batches) / _CELLS_A_BATCH:
        return [
            f"{said} {n_batches} batches for {len(batches)} cells, so that labels are judged by "
            f"cells of the same donors; {instead}"
        ]
    pairs = {pair for pair in zip(batches, labels, strict=True) if pair[1] is not None}
    named = {label for _, label in pairs}
    if len(named) > 1 and len(pairs) == len(named) == len({batch for batch, _ in pairs}):
        return [
            f"{said} cells of one label in every batch and all of them, so that no label is "
            f"known by other batches when it is judged; {instead}"
        ]
    return []
