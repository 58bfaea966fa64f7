"""Small made-up cells and reports."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import scipy.sparse as sp

from cellkin.indexer.evaluation.metrics import Predictions, score
from cellkin.indexer.evaluation.rows import (
    Control,
    FewShotPoint,
    LeftOutType,
    Report,
    Row,
    Setting,
)
from cellkin.indexer.measures import confusion

N_TYPES = 3
TYPES = ("alpha", "beta", "gamma & <co>")
GENES = [f"g{i}" for i in range(120)]


def made_up_cells(n_cells: int, seed: int = 0) -> tuple[sp.csr_matrix, np.ndarray]:
    """Counts of three types, each with 10 genes of its own, and the types."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, N_TYPES, n_cells).astype(np.int32)
    rates = np.full((N_TYPES, len(GENES)), 0.5)
    for code in range(N_TYPES):
        rates[code, code * 10 : code * 10 + 10] = 6
    return sp.csr_matrix(rng.poisson(rates[labels]).astype(np.float32)), labels


@cache
def a_row(
    setting: Setting, *, right: float = 0.8, seed: int | None = None, full: bool = False
) -> Row:
    """A row whose labels are right as often as asked."""
    rng = np.random.default_rng([seed or 0, int(1000 * right)])
    truth = np.repeat(np.arange(N_TYPES, dtype=np.int32), [40, 20, 8])
    wrong = rng.random(len(truth)) > right
    predicted = np.where(wrong, (truth + 1) % N_TYPES, truth).astype(np.int32)
    batches = (np.arange(len(truth)) % 4).astype(np.int32)
    predictions = Predictions(truth, predicted, rng.random(len(truth)), batches=batches)
    return Row(
        setting,
        score(predictions, np.array([40, 20, 8])),
        seed=seed,
        confusion=confusion(truth, predicted, N_TYPES) if full else None,
        few_shot=(FewShotPoint(5, 0.6, 0.02), FewShotPoint(10, 0.7)) if full else (),
        left_out=(LeftOutType("alpha", 40, 0.95, 0.7), LeftOutType("beta", 20, 0.71))
        if full
        else (),
        seconds=1.25,
        peak_bytes=50 * 2**20,
    )


TEXT = Setting("text-v2, prototypes", "text", "text-v2", "minilm", refined=True)


def vector_controls(model: Setting, seeds: Sequence[int] = (0, 1, 2)) -> list[Row]:
    """Random and permuted gene vectors through a model's recipe."""
    random = Setting(
        "random gene vectors",
        model.space,
        model.recipe,
        model.language_model,
        model.refined,
        Control.RANDOM_VECTORS,
    )
    permuted = Setting(
        "permuted gene vectors",
        model.space,
        model.recipe,
        model.language_model,
        model.refined,
        Control.PERMUTED_VECTORS,
    )
    return [
        a_row(control, right=0.6, seed=seed) for control in (random, permuted) for seed in seeds
    ]


def expression_controls() -> list[Row]:
    """The four controls that see expression alone."""
    return [
        a_row(Setting("PCA-50, cosine 10-NN", control=Control.PCA_KNN), right=0.85),
        a_row(Setting("HVG-z prototypes", control=Control.HVG_PROTOTYPES), right=0.84),
        a_row(Setting("logistic regression", control=Control.LOGISTIC_REGRESSION), right=0.83),
        a_row(Setting("majority", control=Control.MAJORITY), right=0.3),
    ]


def a_report(rows: Sequence[Row] | None = None) -> Report:
    """A report of a text model and all its controls."""
    if rows is None:
        peer = a_row(Setting("CellTypist", peer=True), right=0.82)
        rows = [
            a_row(TEXT, right=0.9, full=True),
            *expression_controls(),
            *vector_controls(TEXT),
            peer,
        ]
    return Report(
        "Pancreas <human>",
        "each of 4 donors labeled by the other 3",
        "pancreas.h5ad",
        TYPES,
        (40, 20, 8),
        tuple(rows),
        versions={"index": "pancreas@1"},
        notes=("A note & more.",),
    )
