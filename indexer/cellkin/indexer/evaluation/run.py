"""Run methods on the splits of an evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cellkin.indexer.evaluation.baselines import (
    Baseline,
    HvgPrototypes,
    LogisticRegressionExpression,
    Majority,
    PcaKnn,
)
from cellkin.indexer.evaluation.measured import measured
from cellkin.indexer.evaluation.metrics import Predictions, score
from cellkin.indexer.evaluation.models import SpaceMethod, TextGenes
from cellkin.indexer.evaluation.peers import installed_peers
from cellkin.indexer.evaluation.rows import (
    N_CONTROL_SEEDS,
    Control,
    FewShotPoint,
    LeftOutType,
    Row,
    Setting,
)
from cellkin.indexer.evaluation.splits import Split
from cellkin.indexer.measures import auroc, confusion, macro_f1
from cellkin.indexer.spaces.mlp import TEXT_V2_MLP
from cellkin.space.arrays import CsrMatrix, Float32Matrix, Int32Vector, Int64Vector
from cellkin.space.recipe import Recipe
from cellkin.space.vectors import unit_rows
from cellkin.store.store import GeneEmbedding
from cellkin.wire.errors import GenesUnmatchedError
from cellkin.wire.terms import UnknownReason


@dataclass(frozen=True)
class Cells:
    """Cells of a file, with matched genes.

    Parameters
    ----------
    counts
        (n_cells, n_genes) CSR float32, linear expression.
    genes
        NCBI GeneIDs of the columns, as unique strings.
    labels
        (n_cells,) int32; -1 for a type that the reference lacks.
    batches
        (n_cells,) int32.
    notes
        Sentences for the user about how the file was read.
    """

    counts: CsrMatrix
    genes: list[str]
    labels: Int32Vector
    batches: Int32Vector
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """A method, with the setting and seed of its row."""

    setting: Setting
    baseline: Baseline
    seed: int | None = None


def expression_controls() -> list[Method]:
    """Return the controls of every model, and the peers that are installed."""
    controls = [
        Method(Setting("PCA-50, cosine 10-NN", control=Control.PCA_KNN), PcaKnn()),
        Method(Setting("HVG z prototypes", control=Control.HVG_PROTOTYPES), HvgPrototypes()),
        Method(
            Setting("logistic regression", control=Control.LOGISTIC_REGRESSION),
            LogisticRegressionExpression(),
        ),
        Method(Setting("majority", control=Control.MAJORITY), Majority()),
    ]
    peers, _ = installed_peers()
    return controls + [Method(Setting(peer.name, peer=True), peer) for peer in peers]


def expression_model() -> Method:
    """Return the expression space as a method."""
    setting = Setting("expression", space="expression", refined=True)
    return Method(setting, SpaceMethod("expression"))


def default_model(model: str, genes: TextGenes, recipe: Recipe) -> Method:
    """Return both spaces, chosen by shared genes as in an index; its controls use expression."""
    setting = Setting("default (space by shared genes)", "expression", recipe.name, model, True)
    return Method(setting, SpaceMethod("default", genes, recipe))


def text_models(model: str, genes: TextGenes, recipe: Recipe) -> list[Method]:
    """Return a text space and its controls with random and permuted gene embeddings."""
    mlp = recipe == TEXT_V2_MLP
    name, refined = f"text, {recipe.name}", recipe.refined or mlp
    setting = Setting(name, "text", recipe.name, model, refined)
    methods = [Method(setting, SpaceMethod(name, genes, recipe, expression=False, mlp=mlp))]
    for control, vectors in (
        (Control.RANDOM_VECTORS, _random),
        (Control.PERMUTED_VECTORS, _permuted),
    ):
        for seed in range(N_CONTROL_SEEDS):
            embedding = genes.embedding
            drawn = replace(genes, embedding=replace(embedding, vectors=vectors(embedding, seed)))
            name = f"{control.value}, {recipe.name}"
            beside = replace(setting, method=name, control=control)
            space = SpaceMethod(name, drawn, recipe, expression=False, mlp=mlp, calibrated=False)
            methods.append(Method(beside, space, seed))
    return methods


def _random(embedding: GeneEmbedding, seed: int) -> Float32Matrix:
    drawn = np.random.default_rng(seed).standard_normal(embedding.vectors.shape)
    return unit_rows(drawn.astype(np.float32))


def _permuted(embedding: GeneEmbedding, seed: int) -> Float32Matrix:
    """Permute the gene embeddings within each species."""
    rng = np.random.default_rng(seed)
    order = np.arange(len(embedding.taxa))
    for taxon in np.unique(embedding.taxa):
        rows = np.flatnonzero(embedding.taxa == taxon)
        order[rows] = rng.permutation(rows)
    return embedding.vectors[order]


def ask(
    method: Method,
    reference: Cells,
    splits: Sequence[Split],
    counts: Int64Vector,
    query: Cells | None = None,
    paths: Sequence[str] | None = None,
    done: Callable[[], None] = lambda: None,
) -> Row:
    """Run a method on all splits, and score the pooled predictions.

    Parameters
    ----------
    method
        The method.
    reference
        The reference cells.
    splits
        Cells for fitting and for testing.
    counts
        (n_types,) int64 number of reference cells of each type.
    query
        The query cells if they are in another file.
    paths
        The types as paths, if they form a hierarchy.
    done
        Called once for each split, also if the method cannot be run.
    """
    parts, seconds, peak = [], 0.0, 0
    for at, split in enumerate(splits):
        try:
            run = measured(lambda split=split: predict(method, reference, split, query))  # type: ignore[misc]  # mypy has no lambda defaults
        except GenesUnmatchedError as error:
            for _ in splits[at:]:
                done()
            return Row(method.setting, None, method.seed, why_absent=error.message)
        parts.append(run.value)
        seconds += run.seconds
        peak = max(peak, run.peak_bytes or 0)
        done()
    pooled = Predictions.pooled(parts)
    return Row(
        method.setting,
        score(pooled, counts, paths),
        method.seed,
        confusion=confusion(pooled.truth, pooled.predicted, len(counts)),
        seconds=seconds,
        peak_bytes=peak,
    )


def predict(
    method: Method, reference: Cells, split: Split, query: Cells | None = None
) -> Predictions:
    """Fit a method and predict the test cells of one split."""
    known = reference.counts[split.train]
    genes, asked_genes = reference.genes, (query or reference).genes
    asked = (query or reference).counts[split.test]
    if split.reference_genes is not None:
        known = known[:, split.reference_genes]
        genes = [g for g, kept in zip(genes, split.reference_genes, strict=True) if kept]
    if split.query_genes is not None:
        asked = asked[:, split.query_genes]
        asked_genes = [g for g, kept in zip(asked_genes, split.query_genes, strict=True) if kept]
    train = reference.labels[split.train]
    fitted = method.baseline.fit(known, genes, train, reference.batches[split.train])
    answer = fitted.predict(asked, asked_genes)
    truth = split.truth(reference.labels, query.labels if query is not None else None)
    batches = (query or reference).batches[split.test]
    too_far = None if answer.reasons is None else answer.reasons == UnknownReason.TOO_FAR
    return Predictions(
        truth, answer.codes, answer.probability, answer.novelty, answer.unknown, batches, too_far
    )


def few_shot_curve(
    method: Method, reference: Cells, draws: Sequence[Sequence[Split]], shots: Sequence[int],
    counts: Int64Vector,
) -> tuple[FewShotPoint, ...]:  # fmt: skip
    """Return the mean and standard deviation of macro-F1 over draws, by cells per type."""
    points = []
    for n_shots, splits in zip(shots, draws, strict=True):
        parts = [predict(method, reference, split) for split in splits]
        f1 = [float(macro_f1(confusion(p.truth, p.predicted, len(counts)))) for p in parts]
        sd = float(np.std(f1, ddof=1)) if len(f1) > 1 else None
        points.append(FewShotPoint(n_shots, float(np.mean(f1)), sd))
    return tuple(points)


def left_out_types(
    method: Method, reference: Cells, splits: Sequence[Split], names: Sequence[str]
) -> tuple[LeftOutType, ...]:
    """Return the detection of each left-out type as unknown, as means over splits."""
    found: dict[int, list[tuple[int, float, float]]] = {}
    for split in splits:
        predictions = predict(method, reference, split)
        left = reference.labels[split.test] == split.hidden
        counted = left | (predictions.truth >= 0)
        novelty, unknown = predictions.novelty, predictions.unknown
        if novelty is None or unknown is None or split.hidden is None:
            continue
        area = auroc(left[counted], novelty[counted])
        if area is not None:
            share = float(unknown[left].mean())
            found.setdefault(split.hidden, []).append((int(left.sum()), area, share))
    return tuple(
        LeftOutType(
            names[code],
            sum(n for n, _, _ in each),
            float(np.mean([area for _, area, _ in each])),
            float(np.mean([share for _, _, share in each])),
        )
        for code, each in found.items()
    )
