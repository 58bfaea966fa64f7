"""How well gene neighborhoods find genes of a common process, beside controls and baselines.

Genes of GO-BP sets of 10 to 100 genes: precision@10 over all of them, average precision and AUROC
of drawn queries, and the skew of how often a gene is among the 10 nearest (hubs). Pairs of
gene2vec: AUROC. A score is chosen on half of the sets; the other half is given beside. Then the
time of a search through a server.

The texts are embedded once and kept (``--store``); that takes many minutes.
"""

import argparse
import gzip
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from annotate import DATA, ROOT, cellkin
from gene_scores import (
    Float32Matrix,
    Found,
    Rows,
    Score,
    by_candidate,
    cosine,
    csls,
    measure,
    mutual_proximity,
    nearest,
    pair_auroc,
    precision_at_10,
    rank_fusion,
    related,
    total,
)
from report import Figure, add_options, at_least, at_most, finish, machine
from serving import serving
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from cellkin.client import Client, GeneNeighborhood
from cellkin.space.neighborhoods import permutation
from cellkin.space.vectors import unit_rows, whiten
from cellkin.store.catalog import Entry, Kind
from cellkin.store.corpus import GeneNames, read_gene_names
from cellkin.store.store import Store
from cellkin.wire.names import VersionName, parse_version_name

HUMAN, MODEL, SYMBOLS = 9606, "all-minilm-l6-v2", "symbol-only-all-minilm-l6-v2"
RANDOM = "random-384-1"
WHOLE, NAMES, FUNCTIONS = "human", "human-names", "human-functions"
TEXTS = {WHOLE: (), NAMES: ("--template", "name"), FUNCTIONS: ("--chain", "string")}
"""The corpora: name and best text, name alone, and STRING's function text alone."""
SMALLEST, LARGEST = 10, 100
LSA_DIM = 384
N_SEARCHES = 300


@dataclass(frozen=True)
class World:
    """The genes that are searched, their vectors and what is known of them.

    Parameters
    ----------
    store, names
        The store, and the names of all genes of the corpus of best texts.
    gene_ids
        (n,) int64 GeneIDs of the annotated genes that have a text, ascending.
    sets
        (n, n_sets) 0 or 1.
    drawn
        Rows of the queries that all ranks are computed for.
    """

    store: Store
    names: GeneNames
    gene_ids: Rows
    sets: sp.csr_array
    drawn: Rows

    @property
    def halves(self) -> tuple[sp.csr_array, sp.csr_array]:
        """The sets that scores are chosen by, and those that were held out."""
        first = np.random.default_rng(1).permutation(self.sets.shape[1]) < self.sets.shape[1] // 2
        return self.sets[:, first], self.sets[:, ~first]

    def vectors(self, corpus: str, name: str = MODEL, centered: bool = True) -> Float32Matrix:
        """Return (n, dim) float32 unit vectors; zero where a gene has none."""
        raw = self.store.embedding(embedding_of(self.store, corpus, name))
        vectors = raw.vectors - raw.vectors.mean(axis=0, dtype=np.float64) * centered
        at = np.minimum(np.searchsorted(raw.gene_ids, self.gene_ids), len(raw.gene_ids) - 1)
        there = raw.gene_ids[at] == self.gene_ids
        return unit_rows(np.asarray(vectors[at] * there[:, None], np.float32))

    @cached_property
    def texts(self) -> list[str]:
        """The best texts."""
        entry = self.store.catalog.resolve(Kind.CORPUS, VersionName(WHOLE))
        table = self.store.corpus(entry, ["gene_id", "text"])
        texts = dict(zip(table["gene_id"].to_pylist(), table["text"].to_pylist(), strict=True))
        return [texts[gene_id] for gene_id in self.gene_ids.tolist()]


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=ROOT / ".cache/genes", metavar="FOLDER")
    parser.add_argument("--queries", type=int, default=300, help="drawn for AUROC and MAP")
    parser.add_argument(
        "--texts", nargs="*", default=list(TEXTS), choices=list(TEXTS), help="what to embed"
    )
    add_options(parser)
    arguments = parser.parse_args()
    if not (DATA / "genesets").is_dir():
        print(f"skipped: the gene sets are not at {DATA / 'genesets'}")
        return 0
    notes = machine("numpy", "scikit-learn")
    store = prepared(arguments.store, [WHOLE, *arguments.texts])
    world = world_of(store, arguments.queries)
    table, figures = compared(world)
    figures += searches(arguments.store)
    n, n_sets = world.sets.shape
    notes += [
        f"{n} human genes in {n_sets} GO-BP sets of {SMALLEST} to {LARGEST} genes; average "
        f"precision and AUROC of {len(world.drawn)} drawn queries; gene2vec's valid pairs",
        "degree alone: number of sets, of the half to choose by, that the candidate is in",
        "interactions of HuRI and STRING are not among the data",
    ]
    return finish(arguments, "genes", "Gene neighborhoods", notes, figures, table)


# ---- data ---------------------------------------------------------------------------------------


def prepared(folder: Path, texts: Sequence[str]) -> Store:
    """Import and embed what is not there yet."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    store = Store.open(str(folder)) if folder.is_dir() else Store.create(str(folder))
    ncbi, string = DATA / "ncbi", DATA / "string/9606.protein.info.v12.0.txt.gz"
    for corpus, options in TEXTS.items():
        if corpus in texts and not store.catalog.entries(Kind.CORPUS, corpus):
            cellkin(
                "genes", "import", "--store", str(folder), "--taxon", "human", "--name", corpus,
                "--gene-info", str(ncbi / "gene_info.gz"), "--string", str(string),
                "--gene-summary", str(ncbi / "gene_summary.gz"), *options,
            )  # fmt: skip
    wanted = [(corpus, MODEL) for corpus in texts] + [(WHOLE, RANDOM)]
    wanted += [(NAMES, SYMBOLS)] if NAMES in texts else []
    for corpus, name in wanted:
        if not has(store, corpus, name):
            model = name.replace("symbol-only-", "symbol-only:").replace("-384-1", ":384:1")
            cellkin("genes", "embed", "--store", str(folder), "--corpus", corpus, "--model", model)
    return store


def has(store: Store, corpus: str, name: str) -> bool:
    """Return whether a corpus was embedded."""
    return any(made_from(entry, corpus) for entry in store.catalog.entries(Kind.EMBEDDING, name))


def made_from(entry: Entry, corpus: str) -> bool:
    """Return whether a gene embedding was made from a corpus of this name."""
    return parse_version_name(entry.manifest["corpus"], "corpus").name == corpus


def embedding_of(store: Store, corpus: str, name: str) -> Entry:
    """Return the newest embedding of a corpus."""
    entries = store.catalog.entries(Kind.EMBEDDING, name)
    return [entry for entry in entries if made_from(entry, corpus)][-1]


def world_of(store: Store, n_drawn: int) -> World:
    """Read the sets, and keep those of a middling number of genes with a text."""
    names = read_gene_names(store, store.catalog.resolve(Kind.CORPUS, VersionName(WHOLE)))
    with_text = store.embedding(embedding_of(store, WHOLE, MODEL)).gene_ids
    path = DATA / "genesets/GO_Biological_Process_2021.human.gmt.gz"
    named = [[name for name in line.split("\t")[2:] if name] for line in lines_of(path)]
    every = sorted({name for members in named for name in members})
    ids = dict(zip(every, ids_of(names, every).tolist(), strict=True))
    there = set(with_text.tolist())
    sets = [np.array(sorted({ids[name] for name in members} & there)) for members in named]
    sets = [members for members in sets if SMALLEST <= len(members) <= LARGEST]
    gene_ids = np.unique(np.concatenate(sets))
    indices = np.searchsorted(gene_ids, np.concatenate(sets))
    indptr = np.cumsum([0, *map(len, sets)])
    ones = np.ones(len(indices), np.float32)
    by_set = sp.csr_array((ones, indices, indptr), shape=(len(sets), len(gene_ids)))
    drawn = np.random.default_rng(0).choice(len(gene_ids), min(n_drawn, len(gene_ids)), False)
    return World(store, names, gene_ids, sp.csr_array(by_set.T), np.sort(drawn))


def lines_of(path: Path) -> list[str]:
    """Return the lines of a compressed text."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def ids_of(names: GeneNames, given: list[str]) -> Rows:
    """Return the GeneIDs of names, 0 for a name of no gene."""
    rows = np.asarray(names.resolver.resolve(given, HUMAN).rows)
    return np.where(rows >= 0, names.gene_ids[rows], 0)


def pairs(world: World) -> tuple[Rows, Rows, np.ndarray]:  # type: ignore[type-arg]
    """Return gene2vec's valid pairs as rows of the world, and whether they interact."""
    lines = lines_of(DATA / "genepairs/gene2vec_valid.tsv.gz")[1:]
    rows = [line.split("\t") for line in lines]
    both = np.stack([ids_of(world.names, [row[at] for row in rows]) for at in (0, 1)])
    at = np.minimum(np.searchsorted(world.gene_ids, both), len(world.gene_ids) - 1)
    here = (world.gene_ids[at] == both).all(axis=0)
    truth = np.array([row[2] == "1" for row in rows])
    return at[0, here], at[1, here], truth[here]


# ---- scores -------------------------------------------------------------------------------------


def scores(world: World) -> Iterator[tuple[str, Score]]:
    """Yield the scores by name."""
    n = len(world.gene_ids)
    best = world.vectors(WHOLE)
    yield "cosine", cosine(best)
    yield "CSLS", csls(best)
    yield "mutual proximity", mutual_proximity(best)
    whitened = whiten(best, 0.0)
    yield "whitened cosine", cosine(whitened)
    yield "whitened CSLS", csls(whitened)
    others = {name: world.vectors(name) for name in TEXTS if has(world.store, name, MODEL)}
    for name in (NAMES, FUNCTIONS):
        if name in others:
            yield f"{name} alone", cosine(others[name])
    if len(others) > 1:
        yield f"fused ranks, {len(others)} texts", rank_fusion([*map(cosine, others.values())])
        yield f"fused CSLS, {len(others)} texts", total([*map(csls, others.values())])
    words = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english")
    weighted = words.fit_transform(world.texts).astype(np.float32)
    yield "TF-IDF", lambda rows: np.asarray((weighted[rows] @ weighted.T).todense(), np.float32)
    svd = TruncatedSVD(LSA_DIM, random_state=0).fit_transform(weighted)
    lsa = unit_rows(np.asarray(svd - svd.mean(axis=0), np.float32))
    yield "LSA", cosine(lsa)
    yield "fused ranks, with LSA", rank_fusion([cosine(v) for v in (best, lsa)])
    yield "fused CSLS, with LSA", total([csls(v) for v in (best, lsa)])
    if len(others) > 1:
        every = [*others.values(), lsa]
        yield f"fused CSLS, {len(others)} texts and LSA", total([*map(csls, every)])
    if has(world.store, NAMES, SYMBOLS):
        yield "control: symbols alone", cosine(world.vectors(NAMES, SYMBOLS))
    yield "control: permuted", cosine(best[permutation(n, 0)])
    noise = np.random.default_rng(0).standard_normal(best.shape).astype(np.float32)
    yield "control: random", cosine(unit_rows(noise))


def compared(world: World) -> tuple[list[str], list[Figure]]:
    """Measure every score; return a table, and the figures with targets."""
    first, second, truth = pairs(world)
    development, held_out = world.halves
    every, chosen_by, held_by = map(related, (world.sets, development, held_out))
    found: dict[str, tuple[Found, float, float]] = {}
    lines = [
        "| score | precision@10 | of held-out sets | average precision | AUROC | hub skew "
        "| gene2vec AUROC |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]

    def add(name: str, score: Score, n: int) -> None:
        began = time.perf_counter()
        near = nearest(score, n)
        overall = measure(score, every, world.drawn, near)
        held, auroc = precision_at_10(near, held_by), pair_auroc(score, first, second, truth)
        found[name] = overall, precision_at_10(near, chosen_by), held
        lines.append(
            f"| {name} | {overall.precision:.3f} | {held:.3f} | {overall.average_precision:.3f} "
            f"| {overall.auroc:.3f} | {overall.skew:.2f} | {auroc:.3f} |"
        )
        print(f"{lines[-1]} {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)

    n = len(world.gene_ids)
    for name, score in scores(world):
        add(name, score, n)
    add("control: degree alone", by_candidate(np.diff(development.indptr)), n)
    plain = found["cosine"]
    unhubbed = {name: f for name, f in found.items() if f[0].skew <= 0.9}
    chosen = max(unhubbed, key=lambda name: unhubbed[name][1], default="cosine")
    figures = [
        at_least(
            f"precision@10 of held-out sets against cosine, best at hub skew <= .9 ({chosen})",
            found[chosen][2] / plain[2], "x", 1.10,
        ),
        at_most(f"its hub skew ({chosen})", found[chosen][0].skew, "", 0.9),
    ]  # fmt: skip
    return lines, figures


# ---- speed --------------------------------------------------------------------------------------


def searches(folder: Path) -> list[Figure]:
    """Time searches through a server, of protein-coding genes and of genes of any type."""
    names = ("INS", "GCG", "SST", "TP53", "ACTB", "RHO", "TBK1", "OPTN", "SQSTM1", "BRCA1")
    entry = embedding_of(Store.open(str(folder)), WHOLE, RANDOM)
    figures = []
    with serving(folder) as server, Client(server.address) as client:
        for types in ((), ("*",)):

            def search(name: str, types: tuple[str, ...] = types) -> GeneNeighborhood:
                return client.search_genes(
                    name, taxon=HUMAN, embedding=entry.full_name, gene_types=types
                )

            found, times, before = search("INS"), [], server.cpu_s()
            for at in range(N_SEARCHES):
                began = time.perf_counter()
                search(names[at % len(names)])
                times.append(1e3 * (time.perf_counter() - began))
            cpu_ms = 1e3 * (server.cpu_s() - before) / N_SEARCHES
            what = f"search of {found.n_searched} genes, {found.searched}"
            figures += [
                at_most(f"{what}: p50", statistics.median(times), "ms", 5),
                Figure(f"{what}: server's CPU time", cpu_ms, "ms"),
            ]
    return figures


if __name__ == "__main__":
    sys.exit(main())
