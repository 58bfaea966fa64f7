"""Compare the demo's labels with those of the authors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.table import Table

from cellkin.indexer.evaluation.figures import save_confusions
from cellkin.indexer.evaluation.splits import label_codes
from cellkin.indexer.measures import Counts, accuracy, confusion, macro_f1

TITLES = {"text": "gene text", "random": "random vectors (control)"}
"""Title of each method."""


@dataclass(frozen=True)
class Evaluation:
    """Agreement of predicted with known cell types.

    Parameters
    ----------
    n_cells
        Query cells of types that the reference has; all shares are of these.
    accuracy
        Share whose predicted type is the known one, whether or not the cell is unknown.
    macro_f1
        Mean F1 of the predicted types, over the types that both query and reference have.
    recall
        Share of the cells of each of these types that is predicted as such, largest type first.
    unknown_share
        Share labeled unknown.
    accuracy_of_labeled
        Accuracy over the cells that are not unknown; None if all are.
    n_absent, n_absent_unknown
        Query cells of each type that the reference lacks, and those of them labeled unknown.
    """

    n_cells: int
    accuracy: float
    macro_f1: float
    recall: dict[str, float]
    unknown_share: float
    accuracy_of_labeled: float | None
    n_absent: dict[str, int]
    n_absent_unknown: dict[str, int]


def evaluate(
    truth: npt.NDArray[np.str_],
    predicted: npt.NDArray[np.str_],
    unknown: npt.NDArray[np.bool_],
    reference_types: Sequence[str],
) -> Evaluation:
    """Compare predicted with known cell types.

    Parameters
    ----------
    truth
        (n_cells,) str, the known type of each query cell.
    predicted
        (n_cells,) str, the most probable type.
    unknown
        (n_cells,) bool, whether the cell is labeled unknown.
    reference_types
        The types of the reference; at least one cell must be of one of them.
    """
    counts = _counts(truth, predicted, reference_types)
    sizes = counts.sum(axis=1)
    known = np.isin(truth, reference_types)
    labeled = known & ~unknown
    absent, n_absent = np.unique(truth[~known], return_counts=True)
    return Evaluation(
        n_cells=int(sizes.sum()),
        accuracy=float(accuracy(counts)),
        macro_f1=float(macro_f1(counts)),
        recall={
            reference_types[t]: float(counts[t, t] / sizes[t])
            for t in np.argsort(-sizes, kind="stable")
            if sizes[t]
        },
        unknown_share=float(unknown[known].mean()),
        accuracy_of_labeled=float((predicted == truth)[labeled].mean()) if labeled.any() else None,
        n_absent=dict(zip(absent.tolist(), n_absent.tolist(), strict=True)),
        n_absent_unknown={name: int(unknown[truth == name].sum()) for name in absent.tolist()},
    )


def _counts(
    truth: npt.NDArray[np.str_], predicted: npt.NDArray[np.str_], types: Sequence[str]
) -> Counts:
    true_codes, codes = (label_codes(names.tolist(), types) for names in (truth, predicted))
    return confusion(true_codes, codes, len(types))


def summary_table(evaluations: Mapping[str, Evaluation]) -> Table:
    """Return the methods' figures, one row for each.

    Parameters
    ----------
    evaluations
        By method, a key of `TITLES`.
    """
    table = Table()
    table.add_column("cells placed by", no_wrap=True)
    for column in ("accuracy", "macro-F1", "unknown", "accuracy of rest"):
        table.add_column(column, justify="right")
    for method, figures in evaluations.items():
        rest = figures.accuracy_of_labeled
        table.add_row(
            TITLES[method],
            f"{figures.accuracy:.3f}",
            f"{figures.macro_f1:.3f}",
            f"{figures.unknown_share:.1%}",
            "-" if rest is None else f"{rest:.3f}",
        )
    return table


def recall_table(
    evaluations: Mapping[str, Evaluation],
    truth: npt.NDArray[np.str_],
    reference: npt.NDArray[np.str_],
) -> Table:
    """Return the methods' recall of each cell type, with its number of cells.

    Parameters
    ----------
    evaluations
        By method, a key of `TITLES`; of the same cells.
    truth
        (n_cells,) str, the known type of each query cell.
    reference
        (n_reference_cells,) str, the type of each reference cell.
    """
    table = Table(title="recall by cell type", title_justify="left")
    table.add_column("cell type", no_wrap=True)
    for column in ("mouse cells", "human cells", *evaluations):
        table.add_column(column, justify="right")
    for name in next(iter(evaluations.values())).recall:
        counts = [f"{(truth == name).sum():,}", f"{(reference == name).sum():,}"]
        recalls = [f"{figures.recall[name]:.3f}" for figures in evaluations.values()]
        table.add_row(name, *counts, *recalls)
    return table


def absent_sentence(evaluations: Mapping[str, Evaluation]) -> str:
    """Return a sentence on the cells of absent types and how many of them are labeled unknown.

    Parameters
    ----------
    evaluations
        By method, a key of `TITLES`; of the same cells.
    """
    first = next(iter(evaluations.values()))
    total = sum(first.n_absent.values())
    counted = (
        f"The {first.n_cells:,} mouse cells of the {len(first.recall)} types that the human "
        f"reference has are counted above."
    )
    if not total:
        return f"{counted} It lacks none."
    names = ", ".join(f"{name} {n}" for name, n in first.n_absent.items())
    calls = ", ".join(
        f"{method} {sum(figures.n_absent_unknown.values())}"
        for method, figures in evaluations.items()
    )
    return f"{counted} It lacks the types of {total} more ({names}), labeled unknown: {calls}."


def draw_confusion(
    predicted: Mapping[str, npt.NDArray[np.str_]],
    truth: npt.NDArray[np.str_],
    reference_types: Sequence[str],
    path: Path,
) -> None:
    """Draw the confusion matrix of each method, including types that the reference lacks.

    Parameters
    ----------
    predicted
        By method, a key of `TITLES`: (n_cells,) str, the most probable type.
    truth
        (n_cells,) str, the known type of each query cell.
    reference_types
        The types of the reference.
    path
        The ``.png`` to write.
    """
    types = sorted({*reference_types, *truth.tolist()})
    counts = {TITLES[m]: _counts(truth, names, types) for m, names in predicted.items()}
    save_confusions(counts, types, path)
