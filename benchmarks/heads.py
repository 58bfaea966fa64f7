"""What each head of a text space buys, on real data, beside controls.

No head, supervised contrast (linear), NT-Xent (linear, without labels) and an MLP by supervised
contrast, each over the same vectors of cells, labeled by neighbors and prototypes; with random and
permuted gene vectors, three seeds each. Pancreas and retina leave each donor out; human to mouse
shares no gene.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from annotate import DATA, ROOT, ids_only, texts_of_string
from report import Figure, add_options, finish, machine, timed

from cellkin.indexer.evaluation.models import SpaceMethod, TextGenes, unfitted_text
from cellkin.indexer.evaluation.reading import read_labeled
from cellkin.indexer.evaluation.rows import Row
from cellkin.indexer.evaluation.run import Cells, Method, ask, expression_controls, text_models
from cellkin.indexer.evaluation.splits import Split, across_files, leave_batch_out
from cellkin.indexer.spaces.mlp import TEXT_V2_MLP, fit_mlp_text
from cellkin.indexer.spaces.sample import Sample
from cellkin.indexer.spaces.text import fit_text
from cellkin.space.recipe import TEXT_V1, TEXT_V1_NT_XENT, TEXT_V2, Recipe
from cellkin.store.catalog import Kind
from cellkin.store.corpus import GeneNames, read_gene_names
from cellkin.store.store import GeneEmbedding, Store
from cellkin.wire.names import VersionName

MODEL = "all-minilm-l6-v2"
SETS = ("pancreas", "retina", "human to mouse")
HEADLESS = replace(TEXT_V2, name="text-v2 without head", head="none")
NT_XENT = replace(TEXT_V2, name="text-v2, NT-Xent", head="nt-xent")
RECIPES = (TEXT_V1, TEXT_V1_NT_XENT, HEADLESS, NT_XENT, TEXT_V2, TEXT_V2_MLP)


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=SETS, choices=SETS)
    parser.add_argument("--store", type=Path, default=ROOT / ".cache/annotate", metavar="FOLDER")
    add_options(parser)
    arguments = parser.parse_args()
    if not (DATA / "cells").is_dir():
        print(f"skipped: the data sets are not at {DATA / 'cells'}")
        return 0
    figures: list[Figure] = []
    for name in arguments.sets:
        figures += compared(name, arguments.store)
    figures += seconds_of_heads(arguments.store)
    notes = [
        *machine("numpy", "torch"),
        "accuracy and macro-F1, pooled over splits; means of three seeds for random and permuted "
        "vectors",
        f"texts of STRING by {MODEL}; without calibration, so by neighbors and prototypes alone",
    ]
    return finish(arguments, "heads", "Heads of the text space", notes, figures)


def compared(name: str, folder: Path) -> Iterator[Figure]:
    """Ask every head and its controls about one set."""
    reference, query, splits, texts = question(name, folder)
    counts = np.bincount(reference.labels)
    methods = list(expression_controls()) if query is None else []
    for recipe in RECIPES:
        methods += [uncalibrated(method) for method in text_models(MODEL, texts, recipe)]
    rows: dict[str, list[Row]] = {}
    for method in methods:
        row = ask(method, reference, splits, counts, query)
        rows.setdefault(method.setting.method, []).append(row)
        if row.scores is not None:
            said = f"{row.scores.accuracy:.3f} / {row.scores.macro_f1:.3f}, {row.seconds:.0f} s"
            print(f"{name}: {method.setting.method}: {said}", file=sys.stderr, flush=True)
    for method_name, found in rows.items():
        yield from means(f"{name}: {method_name}", found)


def question(name: str, folder: Path) -> tuple[Cells, Cells | None, Sequence[Split], GeneEmbedding]:
    """Return the reference, the query if it is another file, the splits and the gene vectors."""
    human, mouse = (DATA / "cells" / f"pancreas_{s}_baron.h5ad" for s in ("human", "mouse"))
    store = texts_of_string(folder, (human, mouse))
    genes = names_of(store)
    embedding = store.embedding(store.catalog.resolve(Kind.EMBEDDING, VersionName(MODEL)))
    if name == "human to mouse":
        by_id = [ids_only(path, folder, store) for path in (human, mouse)]
        reference, types, _ = read_labeled(by_id[0], genes, "cell_type")
        query, _, _ = read_labeled(by_id[1], genes, "cell_type", types=types)
        split = across_files(name, len(reference.labels), len(query.labels))
        return reference, query, [split], TextGenes.of(genes, embedding)
    retina = DATA / "cells/retina_human_voigt_periphery_d1_d2.h5ad"
    path = human if name == "pancreas" else retina
    reference, _, donors = read_labeled(path, genes, "cell_type", "donor")
    # Weights carried to genes of no cell take most of the time and change nothing here.
    own = np.flatnonzero(np.isin(embedding.gene_ids, np.array(reference.genes, np.int64)))
    embedding = GeneEmbedding(
        embedding.gene_ids[own], embedding.taxa[own], [embedding.text_sha256[i] for i in own],
        embedding.vectors[own],
    )  # fmt: skip
    splits = leave_batch_out(reference.batches, donors)
    return reference, None, splits, TextGenes.of(genes, embedding)


def names_of(store: Store) -> GeneNames:
    """Return the names of the corpus's genes."""
    return read_gene_names(store, store.catalog.resolve(Kind.CORPUS, VersionName("genes")))


def uncalibrated(method: Method) -> Method:
    """Return a method that holds nothing out: a calibrated one takes five times as long."""
    space = method.baseline
    assert isinstance(space, SpaceMethod)
    return replace(method, baseline=replace(space, calibrated=False))


def means(name: str, rows: Sequence[Row]) -> Iterator[Figure]:
    """Return the figures of one method, means over its seeds."""
    scores = [row.scores for row in rows if row.scores is not None]
    yield Figure(f"{name}: accuracy", float(np.mean([s.accuracy for s in scores])), "")
    yield Figure(f"{name}: macro-F1", float(np.mean([s.macro_f1 for s in scores])), "")


def seconds_of_heads(folder: Path) -> Iterator[Figure]:
    """Say what each head adds to the fit of a text space to the human pancreas."""
    cells, _, _, texts = question("pancreas", folder)
    names = [str(code) for code in np.unique(cells.labels)]
    genes = np.array(cells.genes, np.int64)
    sample = Sample(cells.counts, genes, cells.labels, names, cells.batches)

    def cpu_s(recipe: Recipe) -> float:
        space = unfitted_text(texts, recipe, sample)
        fit = fit_mlp_text if recipe == TEXT_V2_MLP else fit_text
        return min(timed(lambda: fit(space, sample, carry=False)).cpu_s for _ in range(3))

    alone = cpu_s(HEADLESS)
    for recipe in (NT_XENT, TEXT_V2, TEXT_V2_MLP):
        added = cpu_s(recipe) - alone
        yield Figure(f"head of {recipe.name}, {sample.n_cells:,} cells: CPU", added, "s")


if __name__ == "__main__":
    sys.exit(main())
