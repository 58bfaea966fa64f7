"""Exact search by matrix products: the ground truth of indexes, and search on CUDA."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from cellkin.indexer.devices import resolve
from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.wire.errors import DimensionMismatchError, InvalidArgumentError

_MOST_QUERIES = 1024
# Scores of one product: their keys take 8 bytes each.
_SCORES_CPU = 1 << 22
_SCORES_CUDA = 1 << 27
_LOW = 0xFFFFFFFF


def exact_neighbors(
    queries: Float32Matrix, batches: Iterable[Float32Matrix], k: int, device: str
) -> tuple[Float32Matrix, Int64Vector]:
    """Find the nearest vectors of each query by comparing it with all of them.

    Parameters
    ----------
    queries
        (n_queries, dim) float32, unit rows.
    batches
        Matrices (any number, dim) float32, unit rows, which together are what is searched; a
        vector's id is its number, counted over all of them.
    k
        Neighbors per query, at least 1.
    device
        As for `cellkin.indexer.devices.resolve`.

    Returns
    -------
    scores
        (n_queries, k) float32 cosine similarity, best first, -inf where there are fewer vectors.
    ids
        (n_queries, k) int64, -1 where there are fewer; ties by ascending id.
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
    """The best so far of every query."""

    def __init__(self, n_queries: int, k: int, device: torch.device) -> None:
        self.scores = torch.full((n_queries, k), -torch.inf, device=device)
        self.ids = torch.full((n_queries, k), -1, dtype=torch.int64, device=device)
        self._k = k
        self._n_scores = _SCORES_CUDA if device.type == "cuda" else _SCORES_CPU

    @torch.inference_mode()
    def see(self, queries: torch.Tensor, vectors: torch.Tensor, first_id: int) -> None:
        """Take vectors into account whose ids are greater than all before."""
        for asked in _slices(len(queries), _MOST_QUERIES):
            n_vectors = max(self._k, self._n_scores // (asked.stop - asked.start))
            for part in _slices(len(vectors), n_vectors):
                scores = queries[asked] @ vectors[part].T
                values, places = _top(scores, min(self._k, scores.shape[1]))
                self._merge(asked, values, places + part.start + first_id)

    def _merge(self, asked: slice, scores: torch.Tensor, ids: torch.Tensor) -> None:
        # Those from before have the lower ids and come first; a stable sort keeps them there.
        scores = torch.cat([self.scores[asked], scores], 1)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        ids = torch.cat([self.ids[asked], ids], 1).gather(1, order)
        self.scores[asked], self.ids[asked] = scores[:, : self._k], ids[:, : self._k]


def _top(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest of each row and their columns; among equals the leftmost.

    ``torch.topk`` promises no order among equals, so it is asked for integers that have none: the
    score in an order-preserving form, then the column inverted.
    """
    # Adding zero makes the two zeros one.
    bits = (scores + 0.0).view(torch.int32).long()
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    columns = torch.arange(scores.shape[1], device=scores.device)
    keys = torch.topk((ordered << 32) | (_LOW - columns), k, dim=1).values
    places = _LOW - (keys & _LOW)
    return scores.gather(1, places), places


def _slices(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
