"""Label the cells of an AnnData file through a server."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from cellkin.client.client import Client
from cellkin.client.results.predictions import Predictions, QueryReport
from cellkin.matrices.annotated import write_annotated
from cellkin.matrices.cells import CellFile, open_cells
from cellkin.matrices.units import UnitsFinding
from cellkin.wire.terms import (
    BACKGROUND_CELLS,
    ENOUGH_SHARED,
    UNKNOWN_LABEL,
    ExpressionUnits,
    GeneRoute,
    TextRung,
    UnknownReason,
)

_RUN_CELLS = 128
_Answers: TypeAlias = Generator[Predictions, None, None]
_N_RUNS = 24


@dataclass(frozen=True)
class Annotation:
    """The labels of a file's cells.

    Parameters
    ----------
    report
        What the query met.
    units
        What the file's values were found to be.
    cell_ids
        Names of the cells, the order of everything else.
    predictions
        One row a cell.
    mass
        (n_genes,) float64, the summed linear expression of each column.
    layer, raw
        The matrix that was read; X if neither.
    """

    report: QueryReport
    units: UnitsFinding
    cell_ids: list[str]
    predictions: Predictions
    mass: npt.NDArray[np.float64]
    layer: str | None = None
    raw: bool = False

    @property
    def winners(self) -> pd.Categorical:
        """The most probable subtype, missing where no gene of a cell matched."""
        return pd.Categorical.from_codes(self.predictions.winners, categories=self.report.labels)

    @property
    def unknown(self) -> npt.NDArray[np.bool_]:
        """(n_cells,) bool, cells no label can be claimed for."""
        return np.not_equal(self.predictions.reasons, UnknownReason.KNOWN)

    @property
    def labels(self) -> pd.Categorical:
        """The label of each cell, ``unknown`` where none can be claimed."""
        names = [n for n in self.report.labels if n != UNKNOWN_LABEL]
        column = pd.Series(self.winners).astype(object).where(~self.unknown, UNKNOWN_LABEL)
        return pd.Categorical(column, categories=[*names, UNKNOWN_LABEL])

    @property
    def fallbacks(self) -> pd.Categorical:
        """The deepest ancestor that is probable enough where the subtype is not, else missing."""
        names = self.report.ancestors
        return pd.Categorical.from_codes(self.predictions.fallbacks, categories=names)

    def manifest(self) -> dict[str, Any]:
        """Return every version and setting the labels come from, and the match report."""
        return {
            "versions": asdict(self.report.versions),
            "recipe": self.report.recipe,
            "k": self.report.k,
            "space": self.report.space,
            "own_mean": self.report.own_mean,
            "shared_expression": float(self.report.shared_expression),
            "min_probability": float(self.report.min_probability),
            "novelty_limit": float(self.report.novelty_limit),
            "calibration_error": float(self.report.calibration_error),
            "units": self.units.why,
            "gene_match": self.report.match.to_metadata(),
        }


def annotate_file(
    client: Client,
    path: Path,
    index: str,
    *,
    taxon: int = 0,
    min_probability: float | None = None,
    space: str | None = None,
    exclude_batches: Sequence[str] = (),
    layer: str | None = None,
    raw: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
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
        NCBI taxonomy id of the cells; 0 infers it from the gene names.
    min_probability
        The least probability of a label; None for that stored with the index.
    space
        ``text`` or ``expression``; None chooses by the genes that are shared. Where that is text,
        because the genes are foreign to the reference, and there are at least 200 cells, the
        query's own mean is taken off and not the reference's.
    exclude_batches
        Batches of the reference that do not vote; then neighbors alone decide.
    layer, raw
        The matrix to read instead of X.
    progress
        Called with the cells done and the cells there are.

    Raises
    ------
    InputFileError
        If the file cannot be read.
    GenesUnmatchedError
        If too few genes match; no cell is labelled then.
    """
    with open_cells(path, layer=layer, raw=raw) as cells:
        mass = np.zeros(len(cells.gene_names))

        def ask(background: sp.csr_matrix | None) -> tuple[QueryReport, _Answers]:
            return client.stream_predict_subtypes(
                index,
                cells.gene_names,
                _weighed(cells, mass),
                units=cells.units.units,
                taxon=taxon,
                min_probability=min_probability,
                return_vectors=True,
                space=space,
                background=background,
                exclude_batches=exclude_batches,
            )

        report, answers = ask(None)
        foreign = report.space == "text" and report.shared_expression < ENOUGH_SHARED
        if foreign and cells.n_cells >= BACKGROUND_CELLS:
            answers.close()
            report, answers = ask(_background(cells))
        parts = []
        done = 0
        progress(0, cells.n_cells)
        for part in answers:
            parts.append(part)
            done += len(part.winners)
            progress(done, cells.n_cells)
        return Annotation(
            report, cells.units, cells.cell_ids, Predictions.join(parts), mass, layer, raw
        )


def write_annotation(annotation: Annotation, source: Path, target: Path) -> None:
    """Write an ``.h5ad`` copy of a file with the labels beside its cells.

    Adds ``obs['cellkin_label']``, ``obs['cellkin_winner']``, ``obs['cellkin_probability']``,
    ``obs['cellkin_support']``, ``obs['cellkin_n_votes']``, ``obs['cellkin_novelty']``,
    ``obs['cellkin_unknown']``, ``obs['cellkin_reason']``, where labels are paths
    ``obs['cellkin_fallback']``, ``obsm['X_cellkin']``, ``var['cellkin_gene_id']``,
    ``var['cellkin_match']``, ``var['cellkin_text']`` and the manifest ``uns['cellkin']``.

    Raises
    ------
    InputFileError
        If the target cannot be written, or is the source.
    """
    found, match = annotation.predictions, annotation.report.match
    write_annotated(
        source,
        target,
        obs={
            "cellkin_label": annotation.labels,
            "cellkin_winner": annotation.winners,
            "cellkin_probability": found.probabilities,
            "cellkin_support": found.supports,
            "cellkin_n_votes": found.n_votes,
            "cellkin_novelty": found.novelties,
            "cellkin_unknown": annotation.unknown,
            "cellkin_reason": _names(found.reasons, {int(r): r.label for r in UnknownReason}),
            **({"cellkin_fallback": annotation.fallbacks} if annotation.report.ancestors else {}),
        },
        obsm={"X_cellkin": found.vectors},
        var={
            "cellkin_gene_id": match.gene_ids,
            "cellkin_match": _names(match.routes, {int(r): r.label for r in GeneRoute}),
            "cellkin_text": _names(match.rungs, {0: "", **{int(r): r.label for r in TextRung}}),
        },
        uns={"cellkin": annotation.manifest()},
        layer=annotation.layer,
        raw=annotation.raw,
    )


def _weighed(cells: CellFile, mass: npt.NDArray[np.float64]) -> Iterator[sp.csr_matrix]:
    """Pass the blocks on, adding up the linear expression of each gene on the way."""
    for block in cells.blocks():
        linear = block.expm1() if cells.units.units is ExpressionUnits.LOG1P else block
        mass += np.asarray(linear.sum(axis=0)).ravel()
        yield block


def _background(cells: CellFile) -> sp.csr_matrix:
    """Return cells drawn evenly from all of a file, in runs, for those are read fast."""
    run = min(_RUN_CELLS, cells.n_cells)
    starts = np.unique(np.linspace(0, cells.n_cells - run, _N_RUNS).astype(int))
    ends = np.minimum(starts + run, np.append(starts[1:], cells.n_cells))
    runs = zip(starts.tolist(), ends.tolist(), strict=True)
    return sp.vstack([cells.matrix.rows(start, end) for start, end in runs], format="csr")


def _names(codes: npt.NDArray[np.uint8], labels: dict[int, str]) -> pd.Categorical:
    categories = list(labels.values())
    position = {code: at for at, code in enumerate(labels)}
    return pd.Categorical.from_codes([position[int(c)] for c in codes], categories=categories)
