"""Embed texts of any length in windows of tokens; what all runtimes of encoders share.

There are three steps: texts are split into windows of tokens, a runtime computes one vector for
each window in batches of its own, and the vector of a text is the weighted mean of its windows'.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from cellkin.indexer.models.contract import ModelInfo, TokenCounts, check_texts, unit_rows
from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.wire.errors import InputFileError, InvalidArgumentError

TokenIds: TypeAlias = list[int]
Batch: TypeAlias = tuple[list[int], int, int]
"""Windows of the batch, the width they are padded to, and the number of rows with padding."""


@dataclass(frozen=True)
class _Windows:
    """Token windows of texts: ``ids`` and, for each, the row of its text."""

    ids: list[TokenIds]
    rows: Int64Vector


class WindowedModel(ABC):
    """An encoder that reads windows of tokens; see `cellkin.indexer.models.contract`.

    Parameters
    ----------
    info
        Identity of the vectors.
    max_tokens
        Tokens of a window, including special tokens. A longer text is split into windows of nearly
        equal length, and its vector is their mean weighted by their tokens; with mean pooling that
        is the mean over all its tokens.

    Raises
    ------
    InputFileError
        If the special tokens fill the window.
    """

    def __init__(self, info: ModelInfo, max_tokens: int) -> None:
        self._info = info
        self._max_tokens = max_tokens
        self._prefix, self._suffix = self._special_tokens()
        n_special = len(self._prefix) + len(self._suffix)
        self._room = max_tokens - n_special
        if self._room < 1:
            raise InputFileError(
                f"model {info.name} has a window of {max_tokens} tokens and {n_special} special "
                "tokens, so a text has no room; correct the length in the model's configuration"
            )

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
        batches = list(self._batches(lengths))
        padded = (_padded(windows.ids, batch) for batch in batches)
        for batch, vectors in zip(batches, self._pooled(padded), strict=True):
            pooled[batch[0]] = vectors[: len(batch[0])]
        return unit_rows(_weighted_means(pooled, lengths, windows.rows), self._info.name)

    @abstractmethod
    def _encode(self, texts: Sequence[str], *, special: bool = False) -> list[TokenIds]:
        """Return the ids of the tokens of each text, with or without special tokens."""

    @abstractmethod
    def _batches(self, lengths: Int64Vector) -> Iterable[Batch]:
        """Divide windows of given lengths, (n_windows,) int64, into batches."""

    @abstractmethod
    def _pooled(
        self, batches: Iterator[tuple[Int64Vector, Int64Vector]]
    ) -> Iterator[Float32Matrix]:
        """Turn the ids and masks of batches, (rows, width) int64 each, into (rows, dim) float32."""

    def _split(self, texts: Sequence[str]) -> _Windows:
        """Split texts into windows of tokens."""
        ids: list[TokenIds] = []
        rows: list[int] = []
        for row, content in enumerate(self._encode(texts) if texts else []):
            n_windows = max(1, -(-len(content) // self._room))
            bounds = [len(content) * part // n_windows for part in range(n_windows + 1)]
            for begin, end in pairwise(bounds):
                ids.append([*self._prefix, *content[begin:end], *self._suffix])
                rows.append(row)
        return _Windows(ids, np.array(rows, np.int64))

    def _special_tokens(self) -> tuple[TokenIds, TokenIds]:
        """Return the special tokens before and after a text."""
        bare, full = (self._encode(["gene"], special=s)[0] for s in (False, True))
        begin = next(i for i in range(len(full)) if full[i : i + len(bare)] == bare)
        return full[:begin], full[begin + len(bare) :]


def _padded(ids: Sequence[TokenIds], batch: Batch) -> tuple[Int64Vector, Int64Vector]:
    """Return the ids and the mask of a batch, (rows, width) int64 each."""
    windows, width, n_rows = batch
    padded = np.zeros((n_rows, width), np.int64)
    mask = np.zeros((n_rows, width), np.int64)
    for row, window in enumerate(windows):
        padded[row, : len(ids[window])] = ids[window]
        mask[row, : len(ids[window])] = 1
    return padded, mask


def _weighted_means(
    pooled: Float32Matrix, lengths: Int64Vector, rows: Int64Vector
) -> Float32Matrix:
    """Return the mean of the windows of each text, weighted by their tokens."""
    n_texts = int(rows[-1]) + 1 if len(rows) else 0
    sums = np.zeros((n_texts, pooled.shape[1]), np.float64)
    np.add.at(sums, rows, pooled * lengths[:, None].astype(np.float64))
    return (sums / np.bincount(rows, lengths, n_texts)[:, None]).astype(np.float32)
