"""Embed texts with a transformer so that a vector never depends on the other texts of a batch.

Floating-point sums differ in their last bits with the shape of a batch: its width and its number of
rows choose the kernels and the order of the additions. Shapes therefore depend only on the length
of a text:

* on a CPU, windows of exactly the same length share a batch, so nothing is padded, and each length
  has a fixed number of rows; an incomplete batch is filled with copies of its first row. Each batch
  runs on one thread, so the number of cores has no influence either;
* on a GPU, windows are padded to a multiple of 16 tokens, and each width has a fixed number of
  rows; the last batch of a width is filled with rows of padding.

ADR 31 says why this is not sentence-transformers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from cellkin.indexer.models.contract import ModelInfo
from cellkin.indexer.models.recipe import Pooling
from cellkin.indexer.models.windows import Batch, TokenIds, WindowedModel
from cellkin.space.arrays import Float32Matrix, Int64Vector

_PAD_MULTIPLE = 16
_BATCH_TOKENS = 16_384
# Tokens of a batch on one core: enough to make the overhead of a call small, few enough to stay in
# its cache. The speed is the same from 256 to 1,024.
_CORE_TOKENS = 256


class TransformerModel(WindowedModel):
    """An encoder computed by torch.

    Parameters
    ----------
    info, max_tokens
        See `WindowedModel`.
    tokenizer
        A tokenizer of transformers.
    module
        An encoder of transformers in evaluation mode, on its device.
    pooling
        How the token states of a window become one vector.
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
        self._tokenizer = tokenizer
        self._module = module
        self._pooling = pooling
        self._batched = batched
        super().__init__(info, max_tokens)

    def _encode(self, texts: Sequence[str], *, special: bool = False) -> list[TokenIds]:
        # The tokenizer's file may switch on truncation and padding, which would go unnoticed.
        encoded: list[TokenIds] = self._tokenizer(
            list(texts),
            add_special_tokens=special,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        return encoded

    def _batches(self, lengths: Int64Vector) -> Iterable[Batch]:
        return (
            _fixed_batches(lengths, self._max_tokens) if self._batched else _equal_batches(lengths)
        )

    def _pooled(
        self, batches: Iterator[tuple[Int64Vector, Int64Vector]]
    ) -> Iterator[Float32Matrix]:
        if self._batched:
            return (self._pool(*batch) for batch in batches)
        return _on_all_cores(self._pool, batches)

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


def _equal_batches(lengths: Int64Vector) -> Iterator[Batch]:
    """Batch windows of equal length, a fixed number of rows for each length, longest first."""
    for length in np.unique(lengths)[::-1]:
        windows = np.flatnonzero(lengths == length).tolist()
        n_rows = max(1, _CORE_TOKENS // int(length))
        for start in range(0, len(windows), n_rows):
            rows = windows[start : start + n_rows]
            yield rows + rows[:1] * (n_rows - len(rows)), int(length), n_rows


def _fixed_batches(lengths: Int64Vector, max_tokens: int) -> Iterator[Batch]:
    """Batch windows in shapes that depend only on their width, widest first."""
    widths = np.minimum(-(-lengths // _PAD_MULTIPLE) * _PAD_MULTIPLE, max_tokens)
    for width in np.unique(widths)[::-1]:
        windows = np.flatnonzero(widths == width)
        n_rows = max(2, _BATCH_TOKENS // int(width))
        # At least one row is padding: transformers drops a mask without padding and uses another
        # kernel, so that a vector would depend on the lengths of the other texts.
        for start in range(0, len(windows), n_rows - 1):
            yield windows[start : start + n_rows - 1].tolist(), int(width), n_rows


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
