"""How well cells are labeled, on real data, beside controls.

Same genes: the default answer of an index against the best of PCA-kNN, class prototypes, logistic
regression and, where it is installed, CellTypist. Few cells: halves, and draws of 5, 10 and 20
cells a type, several seeds each. Unknown: every type left out in turn. Foreign genes: human and
mouse pancreas without a table of orthologues and without symbols, by texts of STRING alone, beside
random and permuted gene vectors; the first run embeds them, ten minutes on two cores.
"""

import argparse
import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import scipy.sparse as sp
from report import Figure, add_options, at_least, at_most, finish, machine

from cellkin.indexer.evaluation.metrics import Scores
from cellkin.indexer.evaluation.peers import installed_peers
from cellkin.indexer.evaluation.question import Question, evaluate_cells
from cellkin.indexer.evaluation.rows import LeftOutType, Row
from cellkin.indexer.evaluation.run import (
    Cells,
    ask,
    expression_controls,
    expression_model,
    left_out_types,
)
from cellkin.indexer.evaluation.splits import (
    Split,
    few_shot,
    label_codes,
    leave_batch_out,
    leave_type_out,
    stratified_folds,
)
from cellkin.indexer.spaces.contrast import fit_head
from cellkin.store.store import Store

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared/data"
KEPT = ROOT / "benchmarks/kept/labels-format-4.json"
KINDS = ("accuracy", "macro-F1", "rare F1")
ECE, FALSE_ALARMS = 0.03, 0.07
DRAWN = ("Zeisel interneurons", "PBMC 3k", "pancreas")
SHOTS = (5, 10, 20)
N_SEEDS = 3
RECIPES = ("text-v2", "text-v1", "paper", "paper-refined")


@dataclass(frozen=True)
class Set:
    """A data set: its file, its column of batches, and which figures have targets."""

    file: str
    batch: str | None = None
    mean_auroc: float | None = None
    worst_auroc: float | None = None


SETS = {
    "pancreas": Set("pancreas_human_baron", "donor", 0.95, 0.87),
    "retina": Set("retina_human_voigt_periphery_d1_d2", "donor", 0.95, 0.87),
    "PBMC 3 chemistries": Set("pbmc_human_3chemistries", "donor"),
    "PBMC 3k": Set("pbmc_human_3k", mean_auroc=0.85),
    "Kang ctrl, stim": Set("pbmc_human_kang_ctrl_stim", "condition"),
    "Darmanis": Set("brain_human_darmanis"),
    "Zeisel interneurons": Set("interneurons_mouse_zeisel"),
}


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--store", type=Path, default=ROOT / ".cache/annotate", metavar="FOLDER")
    parser.add_argument("--no-foreign", action="store_true", help="leave out human and mouse")
    parser.add_argument("--no-unknown", action="store_true", help="leave no type out")
    parser.add_argument("--no-draws", action="store_true", help="leave out halves and few cells")
    parser.add_argument(
        "--old", type=Path, default=KEPT, metavar="FILE",
        help="figures that --json wrote, to put beside these  [default: those of index format 4]",
    )  # fmt: skip
    add_options(parser)
    arguments = parser.parse_args()
    if not (DATA / "cells").is_dir():
        print(f"skipped: the data sets are not at {DATA / 'cells'}")
        return 0
    _, reasons = installed_peers()
    notes = [*machine("numpy", "scikit-learn", "torch"), *(f"not run: {why}" for why in reasons)]
    notes.append("accuracy, macro-F1 and F1 of the rarest third of types; pooled over splits")
    notes.append(
        "in brackets: of sets the 95 % bootstrap interval over batches, over cells where there is "
        f"one; of halves and few cells the least and most of {N_SEEDS} seeds"
    )
    figures: list[Figure] = []
    rows: dict[str, dict[str, Scores]] = {}
    for name in arguments.sets:
        rows[name] = same_genes(name, SETS[name])
        figures += compared(name, rows[name])
        if not arguments.no_unknown:
            figures += unknown(name, SETS[name])
    figures += means("sets", list(rows.values()))
    if not arguments.no_draws:
        figures += all_draws([name for name in DRAWN if name in arguments.sets])
    if not arguments.no_foreign:
        figures += foreign(arguments.store)
    figures += seconds_of_a_head()
    if arguments.old:
        figures = beside(figures, json.loads(arguments.old.read_text()))
    return finish(arguments, "annotate", "Labels", notes, figures)


def read(file: str, batch: str | None) -> tuple[Cells, list[str], list[str]]:
    """Read a data set; genes are named by their place, for both sides are of one file."""
    data = anndata.read_h5ad(DATA / "cells" / f"{file}.h5ad")
    counts = sp.csr_matrix(data.X, dtype=np.float32)
    if "log" in str(data.uns.get("x_units", "")):
        counts = counts.expm1()
    labels = data.obs["cell_type"].astype(str).tolist()
    batches = data.obs[batch].astype(str).tolist() if batch else ["all"] * len(labels)
    types, names = sorted(set(labels)), sorted(set(batches))
    genes = [str(at + 1) for at in range(counts.shape[1])]
    cells = Cells(counts, genes, label_codes(labels, types), label_codes(batches, names))
    return cells, types, names


def splits_of(cells: Cells, batches: Sequence[str]) -> list[Split]:
    """Leave each batch out, or a fifth of the cells where there is one."""
    if len(batches) > 1:
        return leave_batch_out(cells.batches, batches)
    return stratified_folds(cells.labels)


def same_genes(name: str, what: Set) -> dict[str, Scores]:
    """Ask the expression space and its controls."""
    cells, types, batches = read(what.file, what.batch)
    counts = np.bincount(cells.labels, minlength=len(types))
    scores = {}
    for method in [expression_model(), *expression_controls()]:
        row = ask(method, cells, splits_of(cells, batches), counts)
        if row.scores is not None:
            scores[method.setting.method] = row.scores
        print(f"{name}: {line(row)}", file=sys.stderr, flush=True)
    return scores


def compared(name: str, scores: dict[str, Scores]) -> list[Figure]:
    """Set the default beside the best of the others."""
    figures = []
    for method, found in scores.items():
        figures += three(f"{name}: {method}", found)
    ours, others = scores["expression"], best(list(scores.items()))
    for kind, own, top in zip(KINDS, trio(ours), others, strict=True):
        figures.append(at_least(f"{name}: {kind} above the best other", own - top, "", -0.01))
    return [*figures, *calibration(f"{name}: ECE", [ours], ECE), *alarms(name, [ours])]


def best(rows: Sequence[tuple[str, Scores]]) -> list[float]:
    """Return the best of the others in every figure, each for itself."""
    others = [trio(found) for method, found in rows if method != "expression"]
    return [max(values) for values in zip(*others, strict=True)]


def trio(scores: Scores) -> tuple[float, float, float]:
    """Return accuracy, macro-F1 and F1 of the rarest third."""
    return scores.accuracy, scores.macro_f1, scores.rare_f1 or 0.0


def three(name: str, scores: Scores) -> list[Figure]:
    """Return the three as figures, with their intervals as units."""
    figures = []
    for kind, value in zip(KINDS, trio(scores), strict=True):
        interval = scores.intervals.get(kind.lower().replace("-", "_").replace(" ", "_"))
        spread = "" if interval is None else f"[{interval.low:.3f}, {interval.high:.3f}]"
        figures.append(Figure(f"{name}: {kind}", value, spread))
    return figures


def means(what: str, rows: Sequence[dict[str, Scores]]) -> list[Figure]:
    """Compare the means over sets or draws with those of each other method."""
    if not rows:
        return []
    methods = set.intersection(*(set(scores) for scores in rows))
    mean = {
        method: np.mean([trio(scores[method]) for scores in rows], axis=0) for method in methods
    }
    ours = mean.pop("expression")
    figures = []
    for at, kind in enumerate(KINDS):
        figures.append(Figure(f"mean over {what}: expression: {kind}", float(ours[at]), ""))
        for method in sorted(mean):
            name = f"mean over {what}: {kind} above {method}"
            figures.append(at_least(name, float(ours[at] - mean[method][at]), "", 0))
    return figures


def all_draws(names: Sequence[str]) -> list[Figure]:
    """Know half of the cells, or a few cells of each type, and ask about the rest."""
    figures: list[Figure] = []
    every: list[dict[str, Scores]] = []
    for name in names:
        of_set: list[dict[str, Scores]] = []
        cells, types, _ = read(SETS[name].file, None)
        for regime in ("halves", *(f"{n} cells a type" for n in SHOTS)):
            rows = [drawn(cells, types, regime, seed) for seed in range(N_SEEDS)]
            figures += over_seeds(f"{name}, {regime}", rows, regime == "halves")
            of_set += rows
        mean = {m: np.mean([trio(row[m]) for row in of_set], axis=0) for m in of_set[0]}
        ours = mean.pop("expression")
        for at, kind in enumerate(KINDS):
            top = max(float(value[at]) for value in mean.values())
            title = f"{name}, halves and few cells: {kind} above the best other"
            figures.append(at_least(title, float(ours[at]) - top, "", -0.01))
        every += of_set
    return figures + means("halves and few cells", every)


def drawn(cells: Cells, types: Sequence[str], regime: str, seed: int) -> dict[str, Scores]:
    """Ask the expression space and its controls about one draw."""
    if regime == "halves":
        splits = stratified_folds(cells.labels, 2, seed)
    else:
        splits = [few_shot(cells.labels, int(regime.split()[0]), seed)]
    counts = np.bincount(cells.labels, minlength=len(types))
    scores = {}
    for method in [*expression_controls()[:3], expression_model()]:
        row = ask(method, cells, splits, counts)
        assert row.scores is not None
        scores[method.setting.method] = row.scores
    print(f"{regime}, seed {seed}: {line(row)}", file=sys.stderr, flush=True)
    return scores


def over_seeds(name: str, rows: Sequence[dict[str, Scores]], half: bool) -> list[Figure]:
    """Return means over seeds, and the least and most as units."""
    figures = []
    for method in rows[0]:
        for at, kind in enumerate(KINDS):
            values = [trio(row[method])[at] for row in rows]
            title = f"{name}: {method}: {kind}"
            figures.append(Figure(title, float(np.mean(values)), span(values)))
    ours = [row["expression"] for row in rows]
    figures += calibration(f"{name}: ECE", ours, ECE if half else None)
    return figures + alarms(name, ours)


def alarms(name: str, rows: Sequence[Scores]) -> list[Figure]:
    """Return the share of known cells that are called too far, and that are called unknown."""
    far = [scores.too_far_alarms or 0.0 for scores in rows]
    unknown = [scores.false_alarms or 0.0 for scores in rows]
    return [
        at_most(f"{name}: known cells too far", float(np.mean(far)), span(far), FALSE_ALARMS),
        Figure(f"{name}: known cells unknown", float(np.mean(unknown)), span(unknown)),
    ]


def calibration(name: str, rows: Sequence[Scores], target: float | None) -> list[Figure]:
    """Return the calibration error of some answers together, and what it would be by chance.

    The bins of a few hundred cells are off by chance however good probabilities are, by
    ``sqrt(2 p (1 - p) / (pi n))`` in the mean for a bin of n cells.
    """
    every = [cells for scores in rows for cells in scores.reliability if cells.n_cells]
    sums: dict[float, np.ndarray] = {cells.low: np.zeros(3) for cells in every}
    for cells in every:
        sums[cells.low] += cells.n_cells * np.array([1, cells.probability, cells.accuracy])
    n, said, right = np.stack(list(sums.values())).T
    error = float(np.abs(said - right).sum() / n.sum())
    chance = float(np.sqrt(2 / np.pi * said * np.maximum(1 - said / n, 0)).sum() / n.sum())
    figure = Figure(name, error, "") if target is None else at_most(name, error, "", target)
    return [figure, Figure(f"{name} of sound probabilities by chance", chance, "")]


def span(values: Sequence[float]) -> str:
    """Return the least and the most of some values; of one there is no interval."""
    return f"[{min(values):.3f}, {max(values):.3f}]" if len(values) > 1 else ""


def beside(figures: Sequence[Figure], old: Sequence[dict[str, object]]) -> list[Figure]:
    """Follow every figure of this project by what it was."""
    before = {str(figure["name"]): figure for figure in old}
    found = []
    for figure in figures:
        found.append(figure)
        kept = before.get(figure.name)
        ours = not any(f": {m.setting.method}: " in figure.name for m in expression_controls())
        if kept is not None and ours:
            value = float(str(kept["value"]))
            found.append(Figure(f"{figure.name}, before", value, str(kept["unit"])))
    return found


def unknown(name: str, what: Set) -> list[Figure]:
    """Leave each type out, in the split that asks about most of its cells."""
    cells, types, batches = read(what.file, what.batch)
    splits = leave_type_out(cells.labels, types, splits_of(cells, batches), min_cells=5)
    chosen: dict[int, Split] = {}
    for split in splits:
        code = split.hidden or 0
        n = int((cells.labels[split.test] == code).sum())
        before = chosen.get(code)
        if before is None or n > int((cells.labels[before.test] == code).sum()):
            chosen[code] = split
    asked = list(chosen.values())
    found = left_out_types(expression_model(), cells, asked, types)
    alarms = [ask_alarms(cells, split) for split in asked[:: max(1, len(asked) // 4)]]
    return unknown_figures(name, what, found, alarms)


def ask_alarms(cells: Cells, split: Split) -> float:
    """Return the share of known cells that are called too far."""
    counts = np.bincount(cells.labels[split.train], minlength=int(cells.labels.max()) + 1)
    row = ask(expression_model(), cells, [split], counts)
    return row.scores.too_far_alarms or 0.0 if row.scores is not None else 0.0


def unknown_figures(
    name: str, what: Set, found: Sequence[LeftOutType], alarms: Sequence[float]
) -> list[Figure]:
    """Return the figures of the types left out."""
    aurocs = {left.name: left.auroc for left in found}
    share = float(np.mean([left.found for left in found if left.found is not None]))
    mean, worst = float(np.mean(list(aurocs.values()))), min(aurocs.values())
    each = [Figure(f"{name}: {left} left out: AUROC", area, "") for left, area in aurocs.items()]
    return [
        *each,
        wanted(f"{name}: unknown: mean AUROC", mean, what.mean_auroc),
        wanted(f"{name}: unknown: worst AUROC", worst, what.worst_auroc),
        wanted(f"{name}: unknown cells found", share, 0.60 if what.worst_auroc else None),
        at_most(f"{name}: known cells called too far", float(np.mean(alarms)), "", FALSE_ALARMS),
    ]


def wanted(name: str, value: float, target: float | None) -> Figure:
    """Return a figure that should be no lower than its target, where it has one."""
    return Figure(name, value, "") if target is None else at_least(name, value, "", target)


def foreign(folder: Path) -> list[Figure]:
    """Label one species by the other, and one half of the genes by the other."""
    human, mouse = (DATA / "cells" / f"pancreas_{s}_baron.h5ad" for s in ("human", "mouse"))
    store = texts_of_string(folder, (human, mouse))
    figures: list[Figure] = []
    targets = {"human to mouse": (0.92, 0.74), "mouse to human": (0.90, 0.75)}
    for name, reference, query in (
        ("human to mouse", human, mouse),
        ("mouse to human", mouse, human),
    ):
        by_id = [ids_only(path, folder, store) for path in (reference, query)]
        question = Question(by_id[0], "cell_type", None, by_id[1], "cell_type",
                            embeddings=["all-minilm-l6-v2"], recipes=RECIPES)  # fmt: skip
        figures += of_report(name, evaluate_cells(store, question).rows, targets[name])
    halves = Question(
        ids_only(human, folder, store),
        "cell_type",
        "donor",
        embeddings=["all-minilm-l6-v2"],
        recipes=("text-v2",),
        other_genes=True,
    )
    rows = evaluate_cells(store, halves).rows
    return figures + of_report("halves of the genes", rows, (0.53, 0))


def of_report(name: str, rows: Iterable[Row], targets: tuple[float, float]) -> list[Figure]:
    """Return the rows of text and their controls, means over seeds."""
    found: dict[str, list[Scores]] = {}
    for row in rows:
        if row.scores is not None and row.setting.space == "text":
            found.setdefault(row.setting.method, []).append(row.scores)
    figures = []
    for method, scores in found.items():
        accuracy = float(np.mean([s.accuracy for s in scores]))
        macro_f1 = float(np.mean([s.macro_f1 for s in scores]))
        if method == "text, text-v2":
            figures.append(at_least(f"{name}: {method}: accuracy", accuracy, "", targets[0]))
            figures.append(at_least(f"{name}: {method}: macro-F1", macro_f1, "", targets[1]))
        else:
            figures.append(Figure(f"{name}: {method}: accuracy", accuracy, ""))
            figures.append(Figure(f"{name}: {method}: macro-F1", macro_f1, ""))
        print(f"{name}: {method} {accuracy:.3f} {macro_f1:.3f}", file=sys.stderr, flush=True)
    return figures


def texts_of_string(folder: Path, files: Sequence[Path]) -> Store:
    """Make a corpus of STRING's texts alone, of the genes of some files, and embed it."""
    uri = folder / "store"
    if not (uri / "embedding-all-minilm-l6-v2.lance").exists():
        folder.mkdir(parents=True, exist_ok=True)
        table = cut_gene_info(folder / "gene_info.gz", files)
        strings = [
            DATA / "string" / f"{taxon}.protein.info.v12.0.txt.gz" for taxon in (9606, 10090)
        ]
        options = [x for path in strings for x in ("--string", str(path))]
        command = ("genes", "import", "--store", str(uri), "--gene-info", str(table), *options)
        cellkin(*command)
        cellkin("genes", "embed", "--store", str(uri), "--model", "all-minilm-l6-v2")
    return Store.open(str(uri))


def cellkin(*arguments: str) -> None:
    """Run the command."""
    program = Path(sys.executable).with_name("cellkin")
    subprocess.run([str(program), *arguments], check=True, stdout=subprocess.DEVNULL)


def cut_gene_info(target: Path, files: Sequence[Path]) -> Path:
    """Write NCBI's table with the genes of some files only."""
    names = {
        name.strip().upper()
        for path in files
        for name in anndata.read_h5ad(path, backed="r").var_names
    }
    with (
        gzip.open(DATA / "ncbi/gene_info.gz", "rt") as source,
        gzip.open(target, "wt") as written,
    ):
        written.write(next(source))
        for row in source:
            parts = row.split("\t", 6)
            if {parts[2].upper(), *parts[4].upper().split("|")} & names:
                written.write(row)
    return target


def ids_only(path: Path, folder: Path, store: Store) -> Path:
    """Write a file whose genes are named by their GeneIDs: no symbol can be compared."""
    from cellkin.store.catalog import Kind
    from cellkin.store.corpus import read_gene_names
    from cellkin.wire.names import VersionName

    target = folder / f"{path.stem}.ids.h5ad"
    if target.exists():
        return target
    corpus = store.catalog.resolve(Kind.CORPUS, VersionName("genes"))
    genes = read_gene_names(store, corpus)
    data = anndata.read_h5ad(path)
    rows = genes.resolver.resolve(list(data.var_names), 0).rows
    data = data[:, rows >= 0].copy()
    data.var_names = [str(i) for i in genes.gene_ids[rows[rows >= 0]]]
    data.var_names_make_unique("-repeat-")
    spelled = data.obs["cell_type"].astype(str).replace({"t_cell": "T_cell"})
    data.obs["cell_type"] = spelled
    data.write_h5ad(target)
    return target


def seconds_of_a_head() -> list[Figure]:
    """Train a contrastive head on made vectors."""
    rng = np.random.default_rng(0)
    figures = []
    for n, most in ((2_000, 10.0), (20_000, 180.0)):
        labels = rng.integers(0, 20, n).astype(np.int32)
        vectors = rng.standard_normal((n, 384)).astype(np.float32)
        started = time.perf_counter()
        fit_head(vectors, labels)
        figures.append(at_most(f"head of {n:,} cells", time.perf_counter() - started, "s", most))
    return figures


def line(row: Row) -> str:
    """Return a row in short."""
    if row.scores is None:
        return f"{row.setting.method}: {row.why_absent}"
    figures = "/".join(f"{x:.3f}" for x in trio(row.scores))
    ece = "" if row.scores.ece is None else f" ECE {row.scores.ece:.3f}"
    return f"{row.setting.method} {figures}{ece} {row.seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
