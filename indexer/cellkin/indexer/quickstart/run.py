"""The steps of a quickstart: read names, index by expression, serve, annotate, write the page."""

import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellkin.indexer.cells.fitting import Judging
from cellkin.indexer.cells.job import Job, index_by_expression
from cellkin.indexer.cells.sources import Reference
from cellkin.indexer.demo.prepared import Prepared
from cellkin.indexer.demo.steps import Steps, ended_by_signals, serving
from cellkin.indexer.genes.own_names import NamedFile, taxa_of
from cellkin.indexer.quickstart.page import page
from cellkin.indexer.quickstart.result import Result, read_cells
from cellkin.matrices.cells import open_cells
from cellkin.space.matching import MIN_GENES
from cellkin.store.cell_index import EXPRESSION
from cellkin.store.quality import read_qualities
from cellkin.store.store import Store
from cellkin.wire.errors import AlreadyExistsError, FailedPreconditionError, NotFoundError
from cellkin.wire.species import taxon_name

LABELS, PAGE, STORE = "labels.csv", "report.html", "store"
_OURS = re.compile(r"labels\.csv|report\.html|store|server\.log|labeled\.(h5ad|zarr|h5mu)")
_COPIES = (".zarr", ".h5mu")
_LOG = "server.log"
# Of the server: nobody else asks it, and it is done when the labels are written.
_SERVER = {"OMP_NUM_THREADS": "1", "CELLKIN_SERVER__GRACE_S": "0"}
_WITH_TEXT = (
    "Cells of other species are compared by what is written about their genes: `cellkin genes "
    "import`, `cellkin genes embed`, `cellkin cells index` and `cellkin annotate`, as README shows"
)

Stages = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@dataclass(frozen=True)
class Question:
    """The files and settings of a quickstart.

    Parameters
    ----------
    reference, query
        Files of labeled cells and of cells to label.
    label, batch
        The reference's columns of labels, and of donors or batches, None if it has none.
    taxon
        NCBI taxonomy id of both; 0 infers it.
    folder
        Output folder.
    overwrite
        Whether to replace existing results.
    """

    reference: Path
    query: Path
    label: str
    batch: str | None
    taxon: int
    folder: Path
    overwrite: bool

    @property
    def index(self) -> str:
        """Name of the index, derived from that of the reference."""
        name = re.sub(r"[^a-z0-9._-]+", "-", self.reference.stem.lower()).strip("-._")
        return name[:80] or "reference"

    @property
    def copy(self) -> str:
        """File name of the labeled copy of the query."""
        ending = self.query.suffix.lower()
        return f"labeled{ending if ending in _COPIES else '.h5ad'}"


def quickstart(question: Question, stages: Stages) -> tuple[Result, dict[str, float]]:
    """Label a query by a reference, and write labels, a labeled copy, a page and the store.

    Everything is written to a temporary folder, which replaces the final one at the end.

    Parameters
    ----------
    question
        Files and settings.
    stages
        Progress display of a stage.

    Returns
    -------
    result
        The labels with their reference and quality.
    seconds
        Wall time of each step.

    Raises
    ------
    AlreadyExistsError
        If the folder exists and may not be replaced, or has other files.
    FailedPreconditionError
        If the folder is a mount point, or the files are of two species or share too few gene names.
    CellkinError
        See `cellkin.indexer.cells.job.index_by_expression`.
    SystemExit
        If the server or ``cellkin annotate`` failed; they print the reason.
    """
    _require_free(question)
    steps = Steps(quiet=True)
    with ended_by_signals(), _finished_or_gone(question) as folder:
        with steps.step("read names", ""):
            named = NamedFile.read(question.query)
            _require_shared(question, NamedFile.read(question.reference), named)
            truth = _own_labels(question)
        with (
            (folder / _LOG).open("w") as log,
            Prepared(["cellkin.server.process"], log, _SERVER) as server,
            Prepared(["cellkin.client.annotate"]) as annotating,
        ):
            with steps.step("index", ""):
                store = Store.create(str(folder / STORE))
                wanted = Reference(
                    [question.reference], question.label, question.batch, question.taxon
                )
                job = Job(stages=stages, judging=Judging.CELLS)
                report = index_by_expression(store, question.index, wanted, job=job, linked=[named])
            with (
                serving(steps, folder / STORE, folder / _LOG, server) as address,
                steps.step("annotate", ""),
            ):
                answer = _annotate(question, folder, address, annotating)
        with steps.step("page", ""):
            made = report.entry.manifest
            result = Result(
                question.reference.name,
                question.query.name,
                question.label,
                made["n_cells"],
                len(made["label_counts"]),
                answer,
                read_cells(folder / LABELS),
                read_qualities(made).get(EXPRESSION),
                truth,
            )
            written = page(result, commands(question))
            (folder / PAGE).write_text(written, encoding="utf-8")
    return result, steps.seconds


def commands(question: Question) -> list[str]:
    """Return commands for next steps: the server, the command line and Python."""
    store = shlex.quote(str(question.folder / STORE))
    return [
        f"cellkin serve --store {store}",
        f"cellkin annotate OTHER.h5ad --index {question.index} -o labels.csv",
        "python -c 'from cellkin.client import tl; import anndata; "
        f'cells = anndata.read_h5ad("OTHER.h5ad"); tl.annotate(cells, index="{question.index}")\'',
    ]


def _require_free(question: Question) -> None:
    """Raise an error if files in the folder would be lost."""
    folder = question.folder
    if not folder.exists():
        return
    if folder.is_mount():
        raise FailedPreconditionError(
            f"{folder} is a mount point, which cannot be replaced; give a folder in it by --out"
        )
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [folder.name]
    others = [name for name in there if not folder.is_dir() or not _OURS.fullmatch(name)]
    if others:
        raise AlreadyExistsError(
            f"{folder} has other files than results of a quickstart ({', '.join(others[:3])}); "
            "give another folder by --out"
        )
    if there and not question.overwrite:
        raise AlreadyExistsError(
            f"{folder} has the results of another run; give --force to replace them, or another "
            "folder by --out"
        )


@contextmanager
def _finished_or_gone(question: Question) -> Iterator[Path]:
    """Yield a temporary folder; on success it replaces the final one, on failure it is removed."""
    final = question.folder.resolve()  # the folder itself, not a link to it
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    try:
        yield partial
        if final.exists():
            shutil.rmtree(final)
        partial.chmod(0o777 & ~_umask())
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _require_shared(question: Question, reference: NamedFile, query: NamedFile) -> None:
    """Raise an error early if the files share too few gene names."""
    taxa = taxa_of([reference, query], question.taxon)
    if taxa[0] != taxa[1]:
        raise FailedPreconditionError(
            f"{question.reference} has genes of {taxon_name(taxa[0])} and {question.query} of "
            f"{taxon_name(taxa[1])}, as their names are spelled; if that is wrong, say the species "
            f"by --taxon. {_WITH_TEXT}"
        )
    shared = _names(reference) & _names(query)
    if len(shared) < MIN_GENES:
        raise FailedPreconditionError(
            f"{question.reference} and {question.query} share {len(shared)} gene names, at least "
            f"{MIN_GENES} are needed; give both with symbols or both with Ensembl ids, or one that "
            f"has the other kind in a column of var, such as gene_ids or feature_name. {_WITH_TEXT}"
        )


def _names(file: NamedFile) -> set[str]:
    return {*file.symbols, *file.ensembl_ids} - {""}


def _own_labels(question: Question) -> list[str | None] | None:
    """Return the query's own labels; None if it has no such column."""
    with open_cells(question.query) as cells:
        try:
            return cells.labels(question.label).values
        except NotFoundError:
            return None


def _annotate(
    question: Question, folder: Path, address: str, annotating: Prepared
) -> dict[str, Any]:
    """Label the query through the server, by ``cellkin annotate``."""
    arguments = ["annotate", str(question.query), "--index", question.index, "--server", address]
    arguments += ["-o", str(folder / LABELS), "-o", str(folder / question.copy), "--json"]
    if question.taxon:
        arguments += ["--taxon", str(question.taxon)]
    # Standard error, with progress and errors, is inherited.
    with annotating.start(arguments) as command:
        try:
            stdout, _ = command.communicate()
        except BaseException:
            command.kill()
            raise
    if code := command.returncode:
        raise SystemExit(code if code > 0 else 128 - code)
    answer: dict[str, Any] = json.loads(stdout)
    if question.query.samefile(question.reference):
        answer["warnings"].append(
            {
                "reason": "SAME_FILE",
                "message": "QUERY is the REFERENCE itself: each cell was labeled by itself, which "
                "says nothing of how good labels are; give two files of different cells",
                "labels": [],
            }
        )
    return answer
