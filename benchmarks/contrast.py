"""Contrasts and enrichment on real cells: markers, permuted labels, calibration, known biology.

Genes are tested and sets are called by the functions that the server calls. Beside every figure
stand its controls: scanpy's Wilcoxon test, a random ranking of genes, permuted labels.
"""

import argparse
import csv
import gzip
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import scipy.sparse as sp
from report import Figure, add_options, at_least, at_most, finish, machine

from cellkin.indexer.spaces.expression import fit_expression
from cellkin.indexer.spaces.sample import Sample
from cellkin.space.contrasts import GeneRanks, per_ten_thousand
from cellkin.space.enrichment import SetTester, called, false_discovery_rates
from cellkin.space.expression import CLIP
from cellkin.space.permutation_tests import against_cells
from cellkin.space.separation import separate_expression

DATA = Path(__file__).resolve().parents[2] / "shared/data"
_MIN_CELLS, _MIN_SIZE, _MAX_SIZE, _MIN_RESOURCES = 3, 5, 500, 2
_MONOCYTE = (
    "CD14-positive monocyte",
    "classical monocyte",
    "CD14-positive, CD16-negative classical monocyte",
)
_NONCLASSICAL = ("non-classical monocyte", "CD14-low, CD16-positive monocyte")
_DC = ("dendritic cell", "dendritic cell, human")
_PANCREAS = {
    "beta": ["type B pancreatic cell"], "alpha": ["pancreatic A cell"],
    "ductal": ["pancreatic ductal cell"], "acinar": ["pancreatic acinar cell"],
    "delta": ["pancreatic D cell"], "activated_stellate": ["pancreatic stellate cell"],
    "quiescent_stellate": ["pancreatic stellate cell"], "gamma": ["pancreatic PP cell", "PP cell"],
    "endothelial": ["endothelial cell"], "macrophage": ["macrophage"], "mast": ["mast cell"],
    "t_cell": ["T cell"], "T_cell": ["T cell"], "B_cell": ["B cell"],
    "epsilon": ["pancreatic epsilon cell"], "schwann": ["Schwann cell"],
}  # fmt: skip
# The cell types of the marker table that a label means: the same type, no broader or narrower one.
TYPES: dict[str, dict[str, Sequence[str]]] = {
    "pancreas_human_baron": _PANCREAS,
    "pancreas_mouse_baron": _PANCREAS,
    "pbmc_human_3k": {
        "Naive CD4 T": ["naive thymus-derived CD4-positive, alpha-beta T cell"],
        "Memory CD4 T": ["CD4-positive, alpha-beta memory T cell"], "CD14+ Mono": _MONOCYTE,
        "B": ["B cell"], "CD8 T": ["CD8-positive, alpha-beta T cell"],
        "FCGR3A+ Mono": _NONCLASSICAL, "NK": ["natural killer cell"], "DC": _DC,
        "Platelet": ["platelet"],
    },
    "pbmc_human_3chemistries": {
        "T_CD4": ["CD4-positive, alpha-beta T cell"], "Mono_CD14": _MONOCYTE,
        "T_CD8": ["CD8-positive, alpha-beta T cell"], "B": ["B cell"],
        "Mono_CD16": _NONCLASSICAL, "NK": ["natural killer cell"], "DC": _DC,
        "MK": ["megakaryocyte"], "HSC": ["hematopoietic stem cell"],
    },
    "pbmc_human_kang_ctrl_stim": {
        "CD14+ Monocytes": _MONOCYTE, "CD4 T cells": ["CD4-positive, alpha-beta T cell"],
        "B cells": ["B cell"], "FCGR3A+ Monocytes": _NONCLASSICAL,
        "CD8 T cells": ["CD8-positive, alpha-beta T cell"],
    },
    "brain_human_darmanis": {
        "cell type: neurons": ["neuron"], "cell type: astrocytes": ["astrocyte"],
        "cell type: oligodendrocytes": ["oligodendrocyte"],
        "cell type: endothelial": ["endothelial cell"],
        "cell type: OPC": ["oligodendrocyte precursor cell"],
        "cell type: microglia": ["microglial cell"],
    },
    "retina_human_voigt_periphery_d1_d2": {
        "bipolar": ["retinal bipolar neuron"], "macroglia": ["Mueller cell", "macroglial cell"],
        "rod": ["retinal rod cell"], "cone": ["retinal cone cell"],
        "endothelial": ["endothelial cell"], "amacrine": ["amacrine cell"],
        "microglia": ["microglial cell"], "pericyte": ["pericyte"],
        "horizontal": ["retina horizontal cell"],
        "retinal ganglion cell": ["retinal ganglion cell"],
    },
    "interneurons_mouse_zeisel": {},
    "celllines_human_sc_celseq2_5cl_p1": {},
    "celllines_human_sc_dropseq": {},
}  # fmt: skip
ROD_GENES = {
    "RHO", "GNAT1", "GNB1", "GNGT1", "PDE6A", "PDE6B", "PDE6G", "CNGA1", "CNGB1", "SAG", "GUCA1A",
    "RCVRN",
}  # fmt: skip
CONE_GENES = {
    "GNAT2", "GNB3", "GNGT2", "PDE6C", "PDE6H", "CNGA3", "CNGB3", "ARR3", "GUCA1C", "OPN1LW",
    "OPN1MW", "OPN1SW", "GRK7",
}  # fmt: skip


@dataclass(frozen=True)
class Cells:
    """Cells of a file, with the genes that at least three of them express."""

    name: str
    scaled: Any
    genes: np.ndarray
    labels: np.ndarray
    obs: Any

    @classmethod
    def read(cls, name: str) -> "Cells":
        """Read a file."""
        data = anndata.read_h5ad(DATA / f"cells/{name}.h5ad")
        cells = sp.csr_matrix(data.X, dtype=np.float32)
        if "log1p" in str(data.uns.get("x_units")):
            cells.data = np.expm1(cells.data)
        scaled = per_ten_thousand(cells)
        kept = np.flatnonzero(np.bincount(scaled.indices, minlength=scaled.shape[1]) >= 3)
        genes = np.array([gene.strip().upper() for gene in data.var_names])[kept]
        labels = data.obs["cell_type"].astype(str).to_numpy()
        return cls(name, scaled[:, kept], genes, labels, data.obs)

    def part(self, chosen: np.ndarray) -> "Cells":
        """Return some cells."""
        scaled = self.scaled[chosen]
        kept = np.flatnonzero(np.bincount(scaled.indices, minlength=scaled.shape[1]) >= 3)
        return Cells(
            self.name, scaled[:, kept], self.genes[kept], self.labels[chosen], self.obs[chosen]
        )

    def groups(self) -> tuple[list[str], np.ndarray]:
        """Return the labels with enough cells, and (n_cells, n_labels) bool of their cells."""
        names, counts = np.unique(self.labels, return_counts=True)
        chosen = [str(name) for name in names[counts >= _MIN_CELLS]]
        return chosen, np.stack([self.labels == name for name in chosen], axis=1)


@dataclass(frozen=True)
class Sets:
    """The sets of a collection over some genes."""

    names: list[str]
    tester: SetTester

    @classmethod
    def of(cls, sets: Mapping[str, Sequence[str]], genes: np.ndarray, most: int) -> "Sets":
        """Select the sets with enough of the genes, and not too many."""
        places = {gene: at for at, gene in enumerate(genes.tolist())}
        found = {
            name: at
            for name, members in sets.items()
            if _MIN_SIZE <= len(at := sorted({places[g] for g in members if g in places})) <= most
        }
        indptr = np.cumsum([0, *map(len, found.values())])
        columns = np.concatenate([np.empty(0, np.int64), *map(np.array, found.values())])
        members = sp.csr_matrix((np.ones(len(columns)), columns, indptr), (len(found), len(genes)))
        return cls(list(found), SetTester(members))


def read_gmt(name: str) -> dict[str, list[str]]:
    """Return the sets of a GMT file."""
    with gzip.open(DATA / "genesets" / name, "rt") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    return {row[0]: [gene.upper() for gene in row[2:] if gene] for row in rows}


def read_markers(species: str) -> dict[str, list[str]]:
    """Return the markers of cell types that several resources name."""
    found: dict[str, list[str]] = {}
    with gzip.open(DATA / "genesets/cell_type_markers_accordion.tsv.gz", "rt") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            several = int(row["n_resources"]) >= _MIN_RESOURCES
            if row["species"] == species and row["marker_type"] == "positive" and several:
                found.setdefault(row["CL_celltype"], []).append(row["marker"].upper())
    return found


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw the calibration here")
    parser.add_argument("--permutations", type=int, default=20, help="of each label's cells")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"no data in {DATA}: skipped")
        return 0
    collections = {
        "GO-BP": read_gmt("GO_Biological_Process_2021.human.gmt.gz"),
        "hallmark": read_gmt("h.all.v7.0.symbols.gmt.gz"),
        "markers": read_markers("Human"),
    }
    cells = {name: Cells.read(name) for name in TYPES}
    figures = [
        *by_markers(cells),
        *by_permuted_labels(cells, collections, arguments.permutations),
        *calibrated(cells["pbmc_human_3k"], collections, arguments.picture),
        *interferon(cells["pbmc_human_kang_ctrl_stim"], collections["hallmark"]),
        *photoreceptors(cells["retina_human_voigt_periphery_d1_d2"], collections["GO-BP"]),
        *planted(cells["pbmc_human_3k"], collections["GO-BP"]),
    ]
    notes = [
        *machine("numpy", "scipy", "scanpy"),
        f"{len(cells)} references; markers that at least {_MIN_RESOURCES} resources name; sets of "
        f"{_MIN_SIZE} to {_MAX_SIZE} measured genes, marker sets of any size from {_MIN_SIZE} on",
        "a set is called if the false discovery rate is at most .05 under both nulls; a label's "
        "set counts as found if it is among the first 3 by the first null, enriched in the label",
    ]
    return finish(arguments, "contrast", "Contrasts and enrichment", notes, figures)


def by_markers(cells: Mapping[str, Cells]) -> Iterator[Figure]:
    """Compare the genes and sets of labels with the marker table."""
    rng = np.random.default_rng(0)
    quality: dict[str, list[tuple[float, float]]] = {}
    found, missed = [], []
    for name, some in cells.items():
        if not TYPES[name]:
            continue
        markers = read_markers("Mouse" if "mouse" in name else "Human")
        sets = Sets.of(markers, some.genes, 10**9)
        labels, groups = some.groups()
        z = GeneRanks.of(some.scaled).statistics(groups)
        ways = {"cellkin": z, "scanpy Wilcoxon": scanpy_scores(some, labels)}
        ways["contribution"] = contributions(some, labels)
        ways["random"] = rng.normal(size=z.shape)
        scores = sets.tester.against_genes(z).scores
        for at, label in enumerate(labels):
            types = TYPES[name].get(label, ())
            truth = np.isin(some.genes, [gene for kind in types for gene in markers.get(kind, ())])
            if truth.any():
                for way, values in ways.items():
                    quality.setdefault(way, []).append(ranked(values[:, at], truth))
            own = [sets.names.index(kind) for kind in types if kind in sets.names]
            if own:
                rank = 1 + min(int((scores[:, at] > scores[row, at]).sum()) for row in own)
                found.append(rank <= 3)
                if rank > 3:
                    missed.append(f"{name} {label} ({rank})")
    print("own set not among the first 3:", "; ".join(missed), file=sys.stderr, flush=True)
    means = {way: np.mean(values, axis=0) for way, values in quality.items()}
    for at, what in enumerate(("precision@20", "AUROC")):
        least = float(means["scanpy Wilcoxon"][at])
        n = len(quality["cellkin"])
        yield at_least(f"markers of {n} labels, {what}", float(means["cellkin"][at]), "", least)
        for way in ("scanpy Wilcoxon", "contribution", "random"):
            yield Figure(f"markers of {n} labels, {what}: {way}", float(means[way][at]), "")
    yield at_least(f"own marker set in first 3, of {len(found)} labels", np.mean(found), "", 0.8)


def contributions(cells: Cells, labels: Sequence[str]) -> np.ndarray:
    """Return (n_genes, n_labels) contributions of genes to what separates a label from the rest.

    Genes that are not variable have none, and rank below all that speak for the label.
    """
    names, codes = np.unique(cells.labels, return_inverse=True)
    sample = Sample(
        cells.scaled, np.arange(1, len(cells.genes) + 1), codes.astype(np.int32), names.tolist(),
        np.zeros(len(codes), np.int32),
    )  # fmt: skip
    space = fit_expression(sample).space
    logs = np.log1p(cells.scaled[:, space.variable].toarray())
    z = np.minimum((logs - space.means) / space.deviations, CLIP)
    found = np.zeros((len(cells.genes), len(labels)))
    for at, label in enumerate(labels):
        own = cells.labels == label
        sides = z[own].mean(axis=0), z[~own].mean(axis=0)
        found[space.variable, at] = separate_expression(*sides, space)[0]
        # A gene that the label lacks separates it too, but is none of its markers.
        found[space.variable, at] *= np.sign(sides[0] - sides[1])
    return found


def scanpy_scores(cells: Cells, labels: Sequence[str]) -> np.ndarray:
    """Return (n_genes, n_labels) scores of scanpy's Wilcoxon test."""
    import scanpy

    data = anndata.AnnData(sp.csr_matrix(cells.scaled))
    data.obs["label"] = cells.labels
    scanpy.pp.log1p(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scanpy.tl.rank_genes_groups(
            data, "label", groups=list(labels), method="wilcoxon", tie_correct=True
        )
    found = data.uns["rank_genes_groups"]
    scores = np.zeros((data.n_vars, len(labels)))
    for at, label in enumerate(labels):
        scores[found["names"][label].astype(int), at] = found["scores"][label]
    return scores


def ranked(values: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return the precision of the first 20 genes, and the area under the ROC curve."""
    from scipy.stats import mannwhitneyu

    first = np.argsort(-values, kind="stable")[:20]
    area = mannwhitneyu(values[truth], values[~truth]).statistic
    return float(truth[first].mean()), float(area / (truth.sum() * (~truth).sum()))


def by_permuted_labels(
    cells: Mapping[str, Cells], collections: Mapping[str, Mapping[str, Sequence[str]]], n: int
) -> Iterator[Figure]:
    """Count the contrasts that call any set though group labels are permuted."""
    rng = np.random.default_rng(1)
    both: dict[str, list[bool]] = {name: [] for name in collections}
    alone: dict[str, list[bool]] = {name: [] for name in collections}
    n_real, n_called = 0, 0
    for some in cells.values():
        ranks = GeneRanks.of(some.scaled)
        groups = some.groups()[1]
        for name, members in collections.items():
            sets = Sets.of(members, some.genes, 10**9 if name == "markers" else _MAX_SIZE)
            if not sets.names:
                continue
            parts = of_cells(sets, ranks)
            for group in groups.T:
                drawn = np.stack([group, *(rng.permutation(group) for _ in range(n))], axis=1)
                z = ranks.statistics(drawn)
                tests = sets.tester.against_genes(z), against_cells(parts, drawn)
                rates = [false_discovery_rates(one.p_values) for one in tests]
                any_called = called(*rates).any(axis=0)
                both[name] += any_called[1:].tolist()
                alone[name] += (rates[0] <= 0.05).any(axis=0)[1:].tolist()
                n_real, n_called = n_real + 1, n_called + int(any_called[0])
    for name, found in both.items():
        share, n_drawn = float(np.mean(found)), len(found)
        yield at_most(f"{name}: permuted labels call a set, of {n_drawn:,}", share, "", 0.05)
        yield Figure(
            f"{name}: the same by exchangeable genes alone", float(np.mean(alone[name])), ""
        )
    yield Figure("real labels call a set, all collections", n_called / n_real, "")


def calibrated(
    cells: Cells, collections: Mapping[str, Mapping[str, Sequence[str]]], picture: Path | None
) -> Iterator[Figure]:
    """Compare p-values with uniform ones where the null hypothesis holds."""
    rng = np.random.default_rng(2)
    ranks, group = GeneRanks.of(cells.scaled), cells.labels == "NK"
    z = ranks.statistics(group[:, None])[:, 0]
    genes = np.stack([rng.permutation(z) for _ in range(200)], axis=1)
    labels = np.stack([rng.permutation(group) for _ in range(200)], axis=1)
    drawn = {}
    for name, members in collections.items():
        sets = Sets.of(members, cells.genes, 10**9 if name == "markers" else _MAX_SIZE)
        drawn[f"{name}, genes permuted"] = sets.tester.against_genes(genes).p_values
        drawn[f"{name}, labels permuted"] = against_cells(of_cells(sets, ranks), labels).p_values
    for what, p_values in drawn.items():
        p = np.sort(p_values.ravel())
        gap = float(np.abs(p - (np.arange(len(p)) + 0.5) / len(p)).max())
        yield at_most(f"{what}: distance to uniform, {len(p):,} p", gap, "", 0.05)
        yield Figure(f"{what}: share of p <= .01", float((p <= 0.01).mean()), "")
    if picture is not None:
        draw(drawn, picture)


def draw(drawn: Mapping[str, np.ndarray], picture: Path) -> None:
    """Draw quantiles of p-values against uniform ones."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(9, 6), layout="constrained")
    for axes, (what, p_values) in zip(drawing.subplots(2, 3).T.flat, drawn.items(), strict=True):
        p = np.maximum(np.sort(p_values.ravel()), 1e-300)
        expected = -np.log10((np.arange(len(p)) + 0.5) / len(p))
        axes.plot(expected, -np.log10(p), ".", markersize=2)
        axes.plot([0, expected[0]], [0, expected[0]], "k-", linewidth=0.8)
        axes.set(title=what, xlabel="-log10 p, uniform", ylabel="-log10 p")
    drawing.savefig(picture, dpi=120)


def interferon(cells: Cells, hallmark: Mapping[str, Sequence[str]]) -> Iterator[Figure]:
    """Find the response of stimulated blood cells, in each cell type."""
    worst, n_called, types = 0, 0, np.unique(cells.labels)
    for label in types:
        some = cells.part(cells.labels == label)
        tests, is_called, names = both_nulls(some, some.obs["condition"] == "stim", hallmark)
        order = np.argsort(-tests, kind="stable")
        rank = [names[at].startswith("HALLMARK_INTERFERON") for at in order].index(True) + 1
        worst, n_called = max(worst, rank), n_called + bool(is_called[order[0]])
    yield at_most(f"Kang: rank of interferon response, worst of {len(types)} types", worst, "", 1)
    yield at_least("Kang: types in which the first set is called", n_called / len(types), "", 1)


def photoreceptors(cells: Cells, go: Mapping[str, Sequence[str]]) -> Iterator[Figure]:
    """Find the genes of phototransduction of rods and of cones."""
    some = cells.part(np.isin(cells.labels, ["rod", "cone"]))
    rods = some.labels == "rod"
    z = GeneRanks.of(some.scaled).statistics(rods[:, None])[:, 0]
    for name, sign, genes in (("rods", 1, ROD_GENES), ("cones", -1, CONE_GENES)):
        first = set(some.genes[np.argsort(-sign * z, kind="stable")[:20]].tolist())
        what = f"retina: phototransduction genes in first 20 of {name}"
        yield Figure(what, len(first & genes), "")
    made = {"rods": sorted(ROD_GENES), "cones": sorted(CONE_GENES)}
    _, is_called, tested = both_nulls(some, rods, dict(go) | made)
    for name in ("rods", "cones"):
        yield at_least(
            f"retina: the set of {name} is called", float(is_called[tested.index(name)]), "", 1
        )


def planted(cells: Cells, go: Mapping[str, Sequence[str]]) -> Iterator[Figure]:
    """Plant genes of a made set in random halves of a cell type, ten times."""
    rng = np.random.default_rng(3)
    some = cells.part(cells.labels == "B")
    found = []
    for _ in range(10):
        group = rng.permutation(len(some.labels)) < len(some.labels) // 2
        chosen = rng.permutation(len(some.genes))[:40]
        columns = np.isin(np.arange(len(some.genes)), chosen[:20])
        more = some.scaled.tolil(copy=True)
        for gene in np.flatnonzero(columns):
            cells_with = np.flatnonzero(group & (rng.random(len(group)) < 0.2))
            more[cells_with, gene] = 5.0
        made = {
            "PLANTED": some.genes[chosen[:20]].tolist(),
            "OTHER": some.genes[chosen[20:]].tolist(),
        }
        changed = Cells(some.name, sp.csr_matrix(more), some.genes, some.labels, some.obs)
        _, is_called, names = both_nulls(changed, group, dict(go) | made)
        found.append([is_called[names.index(name)] for name in made])
    planted_share, other_share = np.mean(found, axis=0)
    yield at_least("planted set is called, of 10", float(planted_share), "", 1)
    yield at_most("other made set is called, of 10", float(other_share), "", 0)


def both_nulls(
    cells: Cells, group: Any, sets: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the scores of sets, whether they are called, and their names."""
    group = np.asarray(group, bool)
    ranks = GeneRanks.of(cells.scaled)
    z = ranks.statistics(group[:, None])
    tested = Sets.of(sets, cells.genes, _MAX_SIZE)
    tests = tested.tester.against_genes(z)
    permuted = against_cells(of_cells(tested, ranks), group[:, None])
    rates = [false_discovery_rates(one.p_values) for one in (tests, permuted)]
    return tests.scores[:, 0], called(*rates)[:, 0], tested.names


def of_cells(sets: Sets, ranks: GeneRanks) -> list[np.ndarray]:
    """Return the statistics of sets in all cells."""
    return list(sets.tester.of_cells(ranks, np.arange(ranks.n_cells)))


if __name__ == "__main__":
    sys.exit(main())
