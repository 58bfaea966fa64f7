"""Exact nearest-neighbor search by matrix products in torch."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from cellkin.indexer.devices import resolve
from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.wire.errors import DimensionMismatchError, InvalidArgumentError

_MOST_QUERIES = 1024
# Scores per product; their sort keys take 8 bytes each.
_SCORES_CPU = 1 << 22
_SCORES_CUDA = 1 << 27
_LOW = 0xFFFFFFFF


def exact_neighbors(
    queries: Float32Matrix, batches: Iterable[Float32Matrix], k: int, device: str
) -> tuple[Float32Matrix, Int64Vector]:
    """Find the exact nearest vectors of each query.

    Parameters
    ----------
    queries
        (n_queries, dim) float32, unit rows.
    batches
        Blocks of the searched vectors, (n_rows, dim) float32, unit rows; the id of a vector is its
        row, counted over all blocks.
    k
        Neighbors per query, at least 1.
    device
        As in `cellkin.indexer.devices.resolve`.

    Returns
    -------
    scores
        (n_queries, k) float32 cosine similarities, best first; -inf where there are fewer vectors.
    ids
        (n_queries, k) int64, ties by ascending id; -1 where there are fewer vectors.
    """
    if k < 1:
        raise InvalidArgumentError(f"k is {k}; give 1 or more")
    where = torch.device(resolve(device))
    found = _Best(len(queries), k, where)
    asked = torch.from_numpy(np.array(queries, np.float32)).to(where)
    n_seen = 0
    for batch in batches:
        if batch.shape[1] != queries.shape[1]:
            raise DimensionMismatchError(
                f"queries of {queries.shape[1]} dimensions, vectors of {batch.shape[1]}"
            )
        found.see(asked, torch.from_numpy(np.array(batch, np.float32)).to(where), n_seen)
        n_seen += len(batch)
    return found.scores.cpu().numpy(), found.ids.cpu().numpy()


class _Best:
    """Running k best vectors of each query."""

    def __init__(self, n_queries: int, k: int, device: torch.device) -> None:
        self.scores = torch.full((n_queries, k), -torch.inf, device=device)
        self.ids = torch.full((n_queries, k), -1, dtype=torch.int64, device=device)
        self._k = k
        self._n_scores = _SCORES_CUDA if device.type == "cuda" else _SCORES_CPU

    @torch.inference_mode()
    def see(self, queries: torch.Tensor, vectors: torch.Tensor, first_id: int) -> None:
        """Add vectors whose ids are greater than all before."""
        for asked in _slices(len(queries), _MOST_QUERIES):
            n_vectors = max(self._k, self._n_scores // (asked.stop - asked.start))
            for part in _slices(len(vectors), n_vectors):
                scores = queries[asked] @ vectors[part].T
                values, places = _top(scores, min(self._k, scores.shape[1]))
                self._merge(asked, values, places + part.start + first_id)

    def _merge(self, asked: slice, scores: torch.Tensor, ids: torch.Tensor) -> None:
        # Earlier vectors have lower ids and come first; a stable sort keeps them there.
        scores = torch.cat([self.scores[asked], scores], 1)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        ids = torch.cat([self.ids[asked], ids], 1).gather(1, order)
        self.scores[asked], self.ids[asked] = scores[:, : self._k], ids[:, : self._k]


def _top(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest values of each row and their columns; ties by ascending column.

    ``torch.topk`` guarantees no order among equal values, so it is applied to unique integers made
    of the score in an order-preserving form and the inverted column.
    """
    # Adding zero turns -0.0 into 0.0.
    bits = (scores + 0.0).view(torch.int32).long()
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    columns = torch.arange(scores.shape[1], device=scores.device)
    keys = torch.topk((ordered << 32) | (_LOW - columns), k, dim=1).values
    places = _LOW - (keys & _LOW)
    return scores.gather(1, places), places


def _slices(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
