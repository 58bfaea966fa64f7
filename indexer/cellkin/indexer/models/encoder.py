"""Embed texts with a transformer so that a vector never depends on the other texts of a batch.

Floating-point sums differ in their last bits with the shape of a batch: its width and its number of
rows choose the kernels and the order of the additions. Shapes therefore depend only on the length
of a text:

* on a CPU, windows of exactly the same length share a batch, so nothing is padded, and each length
  has a fixed number of rows; an incomplete batch is filled with copies of its first row. Each batch
  runs on one thread, so the number of cores has no influence either;
* on a GPU, windows are padded to a multiple of 16 tokens, and each width has a fixed number of
  rows; the last batch of a width is filled with rows of padding.

There are three steps: `_split` (texts to windows of tokens), `_pool` (the only one on the device)
and the weighted mean over the windows of a text. ADR 31 says why this is not
sentence-transformers.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch

from cellkin.indexer.models.contract import ModelInfo, TokenCounts, check_texts, unit_rows
from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.wire.errors import InputFileError, InvalidArgumentError

_PAD_MULTIPLE = 16
_BATCH_TOKENS = 16_384
# Tokens of a batch on one core: enough to make the overhead of a call small, few enough to stay in
# its cache. The speed is the same from 256 to 1,024.
_CORE_TOKENS = 256

TokenIds: TypeAlias = list[int]
_Batch: TypeAlias = tuple[list[int], int, int]
"""Windows of the batch, the width they are padded to, and the number of rows with padding."""


class Pooling(StrEnum):
    """How the token states of a window become one vector."""

    MEAN = "mean"
    """Mean over all tokens."""
    CLS = "cls"
    """The first token."""
    LAST = "last"
    """The last token."""
    MAX = "max"
    """Maximum of each dimension over all tokens."""


@dataclass(frozen=True)
class _Windows:
    """Token windows of texts: ``ids`` and, for each, the row of its text."""

    ids: list[TokenIds]
    rows: Int64Vector


class TransformerModel:
    """An encoder with its tokenizer and pooling; see `cellkin.indexer.models.contract`.

    Parameters
    ----------
    info
        Identity of the vectors.
    tokenizer
        A tokenizer of transformers.
    module
        An encoder of transformers in evaluation mode, on its device.
    pooling
        How the token states of a window become one vector.
    max_tokens
        Tokens of a window, including special tokens. A longer text is split into windows of nearly
        equal length, and its vector is their mean weighted by their tokens; with mean pooling that
        is the mean over all its tokens.
    batched
        Whether to use the batches of a GPU rather than those of a CPU; see above.

    Raises
    ------
    InputFileError
        If the special tokens fill the window.
    """

    def __init__(
        self,
        info: ModelInfo,
        tokenizer: Any,
        module: Any,
        pooling: Pooling,
        max_tokens: int,
        *,
        batched: bool,
    ) -> None:
        self._info = info
        self._tokenizer = tokenizer
        self._module = module
        self._pooling = pooling
        self._max_tokens = max_tokens
        self._prefix, self._suffix = _special_tokens(tokenizer)
        n_special = len(self._prefix) + len(self._suffix)
        self._room = max_tokens - n_special
        if self._room < 1:
            raise InputFileError(
                f"model {info.name} has a window of {max_tokens} tokens and {n_special} special "
                "tokens, so a text has no room; correct the length in the model's configuration"
            )
        self._batched = batched

    @property
    def info(self) -> ModelInfo:
        """Identity of the vectors."""
        return self._info

    def count(self, texts: Sequence[str]) -> TokenCounts:
        """Count the tokens of texts and the texts longer than the window, without embedding."""
        windows = self._split(texts)
        n_windows = np.bincount(windows.rows, minlength=len(texts))
        n_tokens = sum(len(ids) for ids in windows.ids)
        return TokenCounts(len(texts), n_tokens, int((n_windows > 1).sum()))

    def embed(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed texts.

        Parameters
        ----------
        texts
            Texts, none of them blank.

        Returns
        -------
        Float32Matrix
            (n_texts, dim) float32, rows of unit length in the order of the texts.

        Raises
        ------
        InvalidArgumentError
            If a text is blank, or the tokenizer finds no token in it.
        """
        check_texts(texts)
        windows = self._split(texts)
        pooled = np.empty((len(windows.ids), self._info.dim), np.float32)
        lengths = np.array([len(ids) for ids in windows.ids], np.int64)
        if not lengths.all():
            row = int(windows.rows[lengths.argmin()])
            raise InvalidArgumentError(
                f"text {row} of {len(texts)} is {texts[row][:50]!r}, in which the tokenizer of "
                f"model {self._info.name} finds no token; embed only texts with words"
            )
        if self._batched:
            for batch in _fixed_batches(lengths, self._max_tokens):
                pooled[batch[0]] = self._pool(*_padded(windows.ids, batch))[: len(batch[0])]
        else:
            batches = list(_equal_batches(lengths))
            padded = (_padded(windows.ids, batch) for batch in batches)
            for batch, vectors in zip(batches, _on_all_cores(self._pool, padded), strict=True):
                pooled[batch[0]] = vectors
        return unit_rows(_weighted_means(pooled, lengths, windows.rows), self._info.name)

    def _split(self, texts: Sequence[str]) -> _Windows:
        """Split texts into windows of tokens."""
        ids: list[TokenIds] = []
        rows: list[int] = []
        for row, content in enumerate(_encode(self._tokenizer, texts)):
            n_windows = max(1, -(-len(content) // self._room))
            bounds = [len(content) * part // n_windows for part in range(n_windows + 1)]
            for begin, end in pairwise(bounds):
                ids.append([*self._prefix, *content[begin:end], *self._suffix])
                rows.append(row)
        return _Windows(ids, np.array(rows, np.int64))

    @torch.inference_mode()
    def _pool(self, ids: Int64Vector, mask: Int64Vector) -> Float32Matrix:
        """Run the encoder on a batch: (rows, width) ids and mask to (rows, dim) vectors."""
        device = self._module.device
        mask_there = torch.from_numpy(mask).to(device)
        states = self._module(
            input_ids=torch.from_numpy(ids).to(device), attention_mask=mask_there
        ).last_hidden_state.float()
        pooled: Float32Matrix = pool(states, mask_there, self._pooling).cpu().numpy()
        return pooled


def pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Reduce the token states of each row to one vector.

    Parameters
    ----------
    states
        (rows, width, dim) float.
    mask
        (rows, width) int, 1 for tokens, which come first, and 0 for padding.
    pooling
        The reduction.

    Returns
    -------
    torch.Tensor
        (rows, dim) float, not normalized.
    """
    last = mask.sum(1) - 1
    if pooling is Pooling.CLS:
        return states[:, 0]
    if pooling is Pooling.LAST:
        return states[torch.arange(len(states), device=states.device), last]
    if pooling is Pooling.MAX:
        return states.masked_fill(mask[:, :, None] == 0, -torch.inf).amax(1)
    weights = mask[:, :, None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def _encode(tokenizer: Any, texts: Sequence[str], *, special: bool = False) -> list[TokenIds]:
    if not texts:
        return []
    # The tokenizer's file may switch on truncation and padding, which would go unnoticed.
    encoded: list[TokenIds] = tokenizer(
        list(texts),
        add_special_tokens=special,
        truncation=False,
        padding=False,
        return_attention_mask=False,
        verbose=False,
    )["input_ids"]
    return encoded


def _special_tokens(tokenizer: Any) -> tuple[TokenIds, TokenIds]:
    """Return the special tokens before and after a text."""
    bare, full = (_encode(tokenizer, ["gene"], special=s)[0] for s in (False, True))
    begin = next(i for i in range(len(full)) if full[i : i + len(bare)] == bare)
    return full[:begin], full[begin + len(bare) :]


def _equal_batches(lengths: Int64Vector) -> Iterator[_Batch]:
    """Batch windows of equal length, a fixed number of rows for each length, longest first."""
    for length in np.unique(lengths)[::-1]:
        windows = np.flatnonzero(lengths == length).tolist()
        n_rows = max(1, _CORE_TOKENS // int(length))
        for start in range(0, len(windows), n_rows):
            rows = windows[start : start + n_rows]
            yield rows + rows[:1] * (n_rows - len(rows)), int(length), n_rows


def _fixed_batches(lengths: Int64Vector, max_tokens: int) -> Iterator[_Batch]:
    """Batch windows in shapes that depend only on their width, widest first."""
    widths = np.minimum(-(-lengths // _PAD_MULTIPLE) * _PAD_MULTIPLE, max_tokens)
    for width in np.unique(widths)[::-1]:
        windows = np.flatnonzero(widths == width)
        n_rows = max(2, _BATCH_TOKENS // int(width))
        # At least one row is padding: transformers drops a mask without padding and uses another
        # kernel, so that a vector would depend on the lengths of the other texts.
        for start in range(0, len(windows), n_rows - 1):
            yield windows[start : start + n_rows - 1].tolist(), int(width), n_rows


def _padded(ids: Sequence[TokenIds], batch: _Batch) -> tuple[Int64Vector, Int64Vector]:
    """Return the ids and the mask of a batch, (rows, width) int64 each."""
    windows, width, n_rows = batch
    padded = np.zeros((n_rows, width), np.int64)
    mask = np.zeros((n_rows, width), np.int64)
    for row, window in enumerate(windows):
        padded[row, : len(ids[window])] = ids[window]
        mask[row, : len(ids[window])] = 1
    return padded, mask


def _on_all_cores(
    work: Callable[[Int64Vector, Int64Vector], Float32Matrix],
    batches: Iterator[tuple[Int64Vector, Int64Vector]],
) -> Iterator[Float32Matrix]:
    """Process each batch on one thread, as many batches at once as torch has threads."""
    n_threads = torch.get_num_threads()

    # The setting is per thread, but new threads start with the one that was set last anywhere.
    def one_thread() -> None:
        torch.set_num_threads(1)

    try:
        with ThreadPoolExecutor(n_threads, "embed", initializer=one_thread) as executor:
            yield from executor.map(lambda batch: work(*batch), batches)
    finally:
        torch.set_num_threads(n_threads)


def _weighted_means(
    pooled: Float32Matrix, lengths: Int64Vector, rows: Int64Vector
) -> Float32Matrix:
    """Return the mean of the windows of each text, weighted by their tokens."""
    n_texts = int(rows[-1]) + 1 if len(rows) else 0
    sums = np.zeros((n_texts, pooled.shape[1]), np.float64)
    np.add.at(sums, rows, pooled * lengths[:, None].astype(np.float64))
    return (sums / np.bincount(rows, lengths, n_texts)[:, None]).astype(np.float32)
