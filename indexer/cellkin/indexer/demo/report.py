"""How well the demo's labels agree with the authors' own: figures, tables, picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from rich.table import Table
from sklearn.metrics import f1_score

TITLES = {"text": "gene text", "random": "random vectors (control)"}
"""How each method is called in tables and in the picture."""


@dataclass(frozen=True)
class Evaluation:
    """Agreement of predicted cell types with the known ones.

    Parameters
    ----------
    n_cells
        Query cells whose type the reference holds; all shares but the last are of these.
    accuracy
        Share whose winning label is the known type, unknown or not: a forced choice.
    macro_f1
        Mean F1 of the winning labels over the types that both query and reference hold.
    recall
        Share of each of these types that won as itself, largest type first.
    unknown_share
        Share that was called unknown.
    accuracy_of_labeled
        Accuracy over the cells not called unknown; None where all were.
    n_absent, n_absent_unknown
        Query cells of each type the reference lacks, and how many of them were called unknown.
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
    winner: npt.NDArray[np.str_],
    unknown: npt.NDArray[np.bool_],
    reference_types: Sequence[str],
) -> Evaluation:
    """Compare predicted with known cell types.

    Parameters
    ----------
    truth
        (n_cells,) str, the known type of each query cell.
    winner
        (n_cells,) str, the type with most votes.
    unknown
        (n_cells,) bool, whether the cell was called unknown.
    reference_types
        The types the reference holds. At least one cell must be of one of them.

    Returns
    -------
    Evaluation
        The figures.
    """
    known = np.isin(truth, list(reference_types))
    right = winner == truth
    labeled = known & ~unknown
    types = by_size(truth[known])
    absent = by_size(truth[~known])
    return Evaluation(
        n_cells=int(known.sum()),
        accuracy=float(right[known].mean()),
        macro_f1=float(
            f1_score(truth[known], winner[known], labels=types, average="macro", zero_division=0)
        ),
        recall={name: float(right[truth == name].mean()) for name in types},
        unknown_share=float(unknown[known].mean()),
        accuracy_of_labeled=float(right[labeled].mean()) if labeled.any() else None,
        n_absent={name: int((truth == name).sum()) for name in absent},
        n_absent_unknown={name: int(unknown[truth == name].sum()) for name in absent},
    )


def by_size(labels: npt.NDArray[np.str_]) -> list[str]:
    """List the distinct labels, most frequent first, ties in alphabetical order.

    Parameters
    ----------
    labels
        (n_cells,) str.

    Returns
    -------
    list
        Each label once.
    """
    names, counts = np.unique(labels, return_counts=True)
    return [str(names[i]) for i in np.argsort(-counts, kind="stable")]


def summary_table(evaluations: Mapping[str, Evaluation]) -> Table:
    """Set the methods' figures side by side.

    Parameters
    ----------
    evaluations
        By method, a key of `TITLES`.

    Returns
    -------
    rich.table.Table
        One row a method.
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
    """Set the methods' recall of each cell type side by side.

    Parameters
    ----------
    evaluations
        By method, a key of `TITLES`; of the same cells.
    truth
        (n_cells,) str, the known type of each query cell.
    reference
        (n_reference_cells,) str, the type of each reference cell.

    Returns
    -------
    rich.table.Table
        One row a type that both hold, with its number of cells in each.
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
    """Say which cells cannot be labeled right, and how many of them were called unknown.

    Parameters
    ----------
    evaluations
        By method, a key of `TITLES`; of the same cells.

    Returns
    -------
    str
        One or two sentences.
    """
    first = next(iter(evaluations.values()))
    total = sum(first.n_absent.values())
    held = (
        f"The {first.n_cells:,} mouse cells of the {len(first.recall)} types that the human "
        f"reference holds are counted above."
    )
    if not total:
        return f"{held} It lacks none."
    names = ", ".join(f"{name} {n}" for name, n in first.n_absent.items())
    calls = ", ".join(
        f"{method} {sum(figures.n_absent_unknown.values())}"
        for method, figures in evaluations.items()
    )
    return f"{held} It lacks the types of {total} more ({names}); called unknown of these: {calls}."


def draw_confusion(
    winners: Mapping[str, npt.NDArray[np.str_]],
    truth: npt.NDArray[np.str_],
    reference_types: Sequence[str],
    path: Path,
) -> None:
    """Draw which type each known type was taken for, one panel a method.

    Parameters
    ----------
    winners
        By method, a key of `TITLES`: (n_cells,) str, the type with most votes.
    truth
        (n_cells,) str, the known type of each query cell.
    reference_types
        The types the reference holds, each once.
    path
        The ``.png`` to write.
    """
    sizes = by_size(truth)
    shared = [name for name in sizes if name in reference_types]
    rows = shared + [name for name in sizes if name not in reference_types]
    columns = shared + sorted(set(reference_types) - set(shared))

    figure = Figure(figsize=(1.6 + 5.6 * len(winners), 6.6), layout="constrained")
    panels = figure.subplots(1, len(winners), sharey=True, squeeze=False)[0]
    for panel, (method, winner) in zip(panels, winners.items(), strict=True):
        shares = confusion(truth, winner, rows, columns)
        image = panel.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.01:
                color = "white" if share > 0.55 else "black"
                text = f"{share:.2f}".removeprefix("0")
                panel.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
        # Below the line are the types no label can be right for, beyond it those no cell is of.
        panel.axhline(len(shared) - 0.5, color="0.4", linewidth=0.8, linestyle="--")
        panel.axvline(len(shared) - 0.5, color="0.4", linewidth=0.8, linestyle="--")
        panel.set_title(TITLES[method])
        panel.set_xlabel("label with most votes (human reference)")
        panel.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=9)
        panel.set_yticks(
            range(len(rows)), [f"{name} ({(truth == name).sum():,})" for name in rows], fontsize=9
        )
    panels[0].set_ylabel("known type of the mouse cells (their number)")
    figure.colorbar(image, ax=panels, label="share of the known type", fraction=0.03)
    figure.savefig(path, dpi=150)


def confusion(
    truth: npt.NDArray[np.str_],
    winner: npt.NDArray[np.str_],
    rows: Sequence[str],
    columns: Sequence[str],
) -> npt.NDArray[np.float64]:
    """Count what each known type was taken for, as shares of that type.

    Parameters
    ----------
    truth, winner
        (n_cells,) str, known and predicted type of each cell.
    rows, columns
        Known and predicted types to count; every row must have a cell.

    Returns
    -------
    numpy.ndarray
        (n_rows, n_columns) float64 in [0, 1].
    """
    return np.array([[(winner[truth == row] == name).mean() for name in columns] for row in rows])
