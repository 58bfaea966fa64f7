"""Encoders computed by OpenVINO on the CPU, in bfloat16 where it has instructions for it.

As with torch, a vector depends on its text alone: windows are padded to a multiple of 16 tokens,
each width has a fixed number of rows, and each batch is computed on one thread.
"""

import queue
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from cellkin.indexer.models.contract import ModelInfo
from cellkin.indexer.models.converted import converted
from cellkin.indexer.models.half import as_half, from_half
from cellkin.indexer.models.openvino_import import openvino
from cellkin.indexer.models.recipe import Pooling, Recipe
from cellkin.indexer.models.windows import Batch, TokenIds, WindowedModel
from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.store.machine import n_threads

_STEP = 16
_BATCH_TOKENS = 512


def load_openvino(
    folder: Path, recipe: Recipe, cache: Path | None = None, precision: str | None = None
) -> "OpenVinoModel":
    """Load an encoder from a folder, after converting it where that was not done before.

    Parameters
    ----------
    folder, recipe
        See `cellkin.indexer.models.checkpoint.load_folder`, as for the errors.
    cache
        Folder of converted encoders; None for ``~/.cache/cellkin/encoders``.
    precision
        ``bf16`` or ``f32``; None for bfloat16 where the CPU has instructions for it.
    """
    core, threads = openvino.Core(), n_threads()
    capable = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    precision = precision or ("bf16" if "BF16" in capable else "f32")
    with converted(folder, recipe, cache) as encoder:
        compiled = core.compile_model(
            str(encoder.model),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": threads,
                "ENABLE_CPU_PINNING": False,  # to cores that other processes may be using
            },
        )
        tokenizer = Tokenizer.from_file(str(encoder.tokenizer))
    settings = {
        **encoder.info.settings,
        "dtype": "bfloat16" if precision == "bf16" else "float32",
        "runtime": f"openvino {'.'.join(version('openvino').split('.')[:2])}",
        "vectors": "float16",
    }
    return OpenVinoModel(
        replace(encoder.info, settings=settings), tokenizer, compiled, recipe.pooling, threads
    )


class OpenVinoModel(WindowedModel):
    """An encoder computed by OpenVINO.

    Vectors are rounded to half precision, which changes a cosine by less than 1e-6, so that they
    can be kept and sent in half of the bytes without a further change.

    Parameters
    ----------
    info
        Identity of the vectors; its settings have the tokens of a window.
    tokenizer
        Of the package tokenizers.
    compiled
        The encoder, of the inputs ``input_ids`` and ``attention_mask``, (rows, width) int64 each,
        and one output, the states of the tokens, (rows, width, dim) float32.
    pooling
        How the token states of a window become one vector.
    threads
        Batches computed at once.
    """

    def __init__(
        self,
        info: ModelInfo,
        tokenizer: Tokenizer,
        compiled: openvino.CompiledModel,
        pooling: Pooling,
        threads: int,
    ) -> None:
        # The tokenizer's file may switch them on, which would go unnoticed.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._pooling = pooling
        self._threads = threads
        self._requests: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        for _ in range(threads):
            self._requests.put(compiled.create_infer_request())
        # OpenVINO sets up its table of numpy types in the first inference, and two threads that
        # start with one at the same time may wait for each other forever.
        one = np.ones((1, _STEP), np.int64)
        self._pool(one, one)
        super().__init__(info, int(info.settings["max_tokens"]))

    def embed(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed texts; see `WindowedModel.embed`."""
        return from_half(as_half(super().embed(texts)), self._info.name)

    def _encode(self, texts: Sequence[str], *, special: bool = False) -> list[TokenIds]:
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=special)
        return [each.ids for each in encoded]

    def _batches(self, lengths: Int64Vector) -> Iterable[Batch]:
        widths = np.minimum(-(-lengths // _STEP) * _STEP, self._max_tokens)
        for width in np.unique(widths)[::-1]:
            windows = np.flatnonzero(widths == width).tolist()
            n_rows = max(1, _BATCH_TOKENS // int(width))
            for start in range(0, len(windows), n_rows):
                rows = windows[start : start + n_rows]
                yield rows + rows[:1] * (n_rows - len(rows)), int(width), n_rows

    def _pooled(
        self, batches: Iterator[tuple[Int64Vector, Int64Vector]]
    ) -> Iterator[Float32Matrix]:
        with ThreadPoolExecutor(self._threads, "embed") as executor:
            yield from executor.map(lambda batch: self._pool(*batch), batches)

    def _pool(self, ids: Int64Vector, mask: Int64Vector) -> Float32Matrix:
        request = self._requests.get()
        try:
            request.infer([ids, mask], share_inputs=True)
            return pool(request.get_output_tensor(0).data, mask, self._pooling)
        finally:
            self._requests.put(request)


def pool(states: Float32Matrix, mask: Int64Vector, pooling: Pooling) -> Float32Matrix:
    """Reduce the token states of each row to one vector; numpy's `encoder.pool`.

    Parameters
    ----------
    states
        (rows, width, dim) float32.
    mask
        (rows, width) int64, 1 for tokens, which come first, and 0 for padding.
    pooling
        The reduction.

    Returns
    -------
    Float32Matrix
        (rows, dim) float32, not normalized.
    """
    counts = mask.sum(1)
    there = mask[:, :, None].astype(bool)
    pooled: Float32Matrix
    if pooling is Pooling.CLS:
        pooled = states[:, 0].copy()
    elif pooling is Pooling.LAST:
        pooled = states[np.arange(len(states)), counts - 1]
    elif pooling is Pooling.MAX:
        pooled = np.where(there, states, -np.inf).max(1)
    else:
        pooled = np.where(there, states, 0).sum(1) / counts[:, None].astype(np.float32)
    return pooled
