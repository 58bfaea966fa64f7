"""Run an evaluation: read cells, choose methods and splits, make the report."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from cellkin.indexer.cells.labels import require_different
from cellkin.indexer.cells.ontology import Ontology
from cellkin.indexer.evaluation.models import TextGenes
from cellkin.indexer.evaluation.reading import read_labeled
from cellkin.indexer.evaluation.rows import Report, Row
from cellkin.indexer.evaluation.run import (
    Cells,
    Method,
    ask,
    default_model,
    expression_controls,
    expression_model,
    few_shot_curve,
    left_out_types,
    text_models,
)
from cellkin.indexer.evaluation.splits import (
    SHOTS,
    Split,
    across_files,
    few_shot,
    gene_halves,
    leave_batch_out,
    leave_type_out,
    stratified_folds,
)
from cellkin.indexer.genes.own_names import find_corpus
from cellkin.indexer.spaces.mlp import TEXT_V2_MLP
from cellkin.matrices.options import ReadOptions, X
from cellkin.space.hierarchy import SEPARATOR
from cellkin.space.recipe import RECIPES, TEXT_V2, Recipe
from cellkin.store.catalog import Entry, Kind
from cellkin.store.corpus import read_gene_names
from cellkin.store.store import Store
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from cellkin.wire.names import embedding_name, parse_version_name

_N_DRAWS = 3


@dataclass(frozen=True)
class Question:
    """Settings of an evaluation.

    Parameters
    ----------
    reference, label, batch
        File of labeled cells, its column of types, and that of batches or None.
    query, query_label
        File of query cells and its column of types; None to split the reference.
    taxon
        NCBI taxonomy id of the reference; 0 infers it. That of the query is always inferred.
    embeddings, recipes
        Text spaces: each recipe is evaluated with each gene embedding. Without embeddings only
        methods by expression are evaluated.
    few_shot, left_out
        Whether to compute the few-shot curve, and to leave each type out.
    other_genes
        Whether reference and query get different random halves of the genes.
    ontology
        An OBO file with the terms of the labels, or None.
    literal_labels
        Whether words such as ``unknown`` and ``nan`` are labels; see `read_labels`.
    how
        Matrix to read, and its units.
    """

    reference: Path
    label: str
    batch: str | None = None
    query: Path | None = None
    query_label: str = ""
    taxon: int = 0
    embeddings: Sequence[str] = ()
    recipes: Sequence[str] = ("text-v2",)
    few_shot: bool = False
    left_out: bool = False
    other_genes: bool = False
    ontology: Path | None = None
    literal_labels: bool = False
    how: ReadOptions = X


def evaluate_cells(
    store: Store,
    question: Question,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Evaluate each method on the splits.

    Raises
    ------
    NotFoundError
        If an embedding or a column does not exist, or there is neither an embedding nor a corpus.
    InvalidArgumentError
        If a recipe is unknown, or needs counts and the values are not counts.
    FailedPreconditionError
        If the embeddings are of different corpora.
    """
    embeddings, corpus = _embeddings(store, question.embeddings)
    genes = read_gene_names(store, corpus)
    vectors = {
        name: TextGenes.of(genes, store.embedding(entry)) for name, entry in embeddings.items()
    }
    literal, how = question.literal_labels, question.how
    cells, types, batches = read_labeled(
        question.reference, genes, question.label, question.batch, question.taxon,
        how=how, literal_labels=literal,
    )  # fmt: skip
    query = None
    if question.query is not None:
        query, _, _ = read_labeled(
            question.query, genes, question.query_label, types=types,
            how=how, literal_labels=literal,
        )  # fmt: skip
    if question.ontology is not None:
        terms = Ontology.read(question.ontology).paths(types)
        names = [terms.get(name, name) for name in types]
        # Several labels may be the same term: its id, its name, and terms that it replaces.
        types = list(dict.fromkeys(names))
        codes = np.array([*map(types.index, names), -1], np.int32)
        cells = replace(cells, labels=codes[cells.labels])
        query = None if query is None else replace(query, labels=codes[query.labels])
    counts = np.bincount(cells.labels, minlength=len(types))
    named = dict(zip(types, counts.tolist(), strict=True))
    require_different(named, str(question.reference))
    splits, asked = _splits(question, cells, batches, query)
    _require_two_types(splits, cells, types)
    methods = _methods(vectors, question.recipes)
    paths = types if any(SEPARATOR in name for name in types) else None
    total, done = len(methods) * len(splits), 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    rows = []
    for method in methods:
        row = ask(method, cells, splits, counts, query, paths, step)
        rows.append(_more(row, method, question, cells, splits, types, counts))
    return Report(
        question.reference.stem,
        asked,
        question.reference.name,
        tuple(types),
        tuple(counts.tolist()),
        tuple(rows),
        query=question.query.name if question.query is not None else "",
        versions={
            "cellkin": version("cellkin"),
            **{name: entry.full_name for name, entry in embeddings.items()},
            "corpus": corpus.full_name,
        },
        notes=tuple(dict.fromkeys([*cells.notes, *(query.notes if query is not None else ())])),
    )


def _embeddings(store: Store, names: Sequence[str]) -> tuple[dict[str, Entry], Entry]:
    """Return the embeddings by name, with version if there are several, and their corpus."""
    parsed = [parse_version_name(embedding_name(name), "gene embedding") for name in names]
    resolved = [store.catalog.resolve(Kind.EMBEDDING, name) for name in parsed]
    entries = list({entry.full_name: entry for entry in resolved}.values())
    if not entries:
        only = find_corpus(store)
        if only is None:
            raise NotFoundError("the store has no gene names; make some by `cellkin genes import`")
        return {}, only
    corpora = sorted({entry.manifest["corpus"] for entry in entries})
    if len(corpora) != 1:
        raise FailedPreconditionError(
            f"embeddings of {len(corpora)} corpora ({', '.join(corpora)}); give embeddings of one"
        )
    corpus = store.catalog.version(Kind.CORPUS, parse_version_name(corpora[0], "corpus"))
    n_versions = Counter(entry.name for entry in entries)
    return {e.name if n_versions[e.name] == 1 else e.full_name: e for e in entries}, corpus


def _methods(vectors: Mapping[str, TextGenes], recipes: Sequence[str]) -> list[Method]:
    methods = [expression_model(), *expression_controls()]
    made = [_recipe(name) for name in dict.fromkeys(recipes)]
    # The default is as in an index, which never has an MLP.
    served = next((recipe for recipe in made if recipe != TEXT_V2_MLP), TEXT_V2)
    for name, texts in vectors.items():
        methods.append(default_model(name, texts, served))
        for recipe in made:
            methods += text_models(name, texts, recipe)
    return methods


def _recipe(name: str) -> Recipe:
    known = {**RECIPES, TEXT_V2_MLP.name: TEXT_V2_MLP}
    if name not in known:
        raise InvalidArgumentError(f"recipe {name!r} is unknown; choose {', '.join(known)}")
    return known[name]


def _splits(
    question: Question, cells: Cells, batches: Sequence[str], query: Cells | None
) -> tuple[list[Split], str]:
    if query is not None:
        split = across_files("all of the reference", len(cells.labels), len(query.labels))
        return [split], f"{question.query.name if question.query else ''} labeled by the reference"
    if len(batches) > 1:
        splits = leave_batch_out(cells.batches, batches)
        asked = f"each of {len(batches)} batches labeled by the others"
    else:
        splits = stratified_folds(cells.labels)
        asked = "each fifth of the cells labeled by the others"
    if question.other_genes:
        splits = gene_halves(len(cells.genes), splits)
        asked += ", with the other half of the genes"
    return splits, asked


def _require_two_types(splits: Sequence[Split], cells: Cells, types: Sequence[str]) -> None:
    """Raise an error early if a split has fewer than the two types that some methods need."""
    for split in splits:
        known = np.unique(cells.labels[split.train])
        if len(known) < 2:
            raise InvalidArgumentError(
                f"{split.name}: the cells to learn from are all {types[known[0]]!r}, so there is "
                "nothing to tell apart; leave --batch out, or give batches that have more than one "
                "label"
            )


def _more(
    row: Row, method: Method, question: Question, cells: Cells, splits: Sequence[Split],
    types: Sequence[str], counts: np.ndarray,
) -> Row:  # fmt: skip
    """Add the few-shot curve and, for models, the left-out types, if requested."""
    if row.scores is None or question.query is not None:
        return row
    if question.few_shot:
        draws = [[few_shot(cells.labels, n, seed) for seed in range(_N_DRAWS)] for n in SHOTS]
        row = replace(row, few_shot=few_shot_curve(method, cells, draws, SHOTS, counts))
    if question.left_out and method.setting.is_model:
        hidden = leave_type_out(cells.labels, types, splits)
        row = replace(row, left_out=left_out_types(method, cells, hidden, types))
    return row
