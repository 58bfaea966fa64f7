"""Tune the search settings of an index: the cheapest that reach a recall."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cellkin.indexer.neighbors.exact import Queries, shares
from cellkin.indexer.neighbors.vectors import Vectors
from cellkin.store.certificate import TUNED_K
from cellkin.store.neighbors import NeighborIndex
from cellkin.store.neighbors_faiss import knobs, n_lists, set_knobs

_SHORTLISTS = (64, 32, 16, 8, 4, 2)
_MAX_EF = 4096
# After two doublings in a row that gain less, more depth does not help.
_STALL = 0.001


@dataclass(frozen=True)
class Trial:
    """Recall and cost of some search settings.

    Parameters
    ----------
    recall
        Mean recall@10 over the queries.
    surely
        Mean recall@10 minus two standard errors; other queries rarely get less.
    cpu_s
        CPU time of searching all queries, seconds.
    """

    recall: float
    surely: float
    cpu_s: float


def tune(index: NeighborIndex, vectors: Vectors, queries: Queries, target: float) -> dict[str, int]:
    """Find the cheapest search settings that reach a recall, and set them.

    The search depth (``nprobe`` lists, or ``efSearch`` nodes of a graph) is doubled, then bisected.
    For indexes that score candidates again, this is done for several lengths of the shortlist
    (``k_factor``), and the fastest is taken.

    Parameters
    ----------
    index
        The index; its settings are changed.
    vectors
        The vectors it was built from.
    queries
        Queries that the certificate does not use.
    target
        The requested recall@10, in (0, 1].

    Returns
    -------
    dict
        The settings; if none reaches the target, the smallest with close to the best recall.
    """
    present = knobs(index.faiss_index)
    depth = next((name for name in ("nprobe", "efSearch") if name in present), None)
    limit = n_lists(index.faiss_index) if depth == "nprobe" else min(_MAX_EF, 2 * len(index))
    trials: dict[tuple[int, int], Trial] = {}

    def settings(shortlist: int, at: int) -> dict[str, int]:
        found: dict[str, int] = {depth: at} if depth else {}
        return {**found, "k_factor": shortlist} if shortlist else found

    def trial(shortlist: int, at: int) -> Trial:
        if (shortlist, at) not in trials:
            set_knobs(index.faiss_index, settings(shortlist, at))
            trials[shortlist, at] = _try(index, vectors, queries)
        return trials[shortlist, at]

    start = 16 if depth == "efSearch" else 1
    best: tuple[int, int] | None = None
    for shortlist in _SHORTLISTS if "k_factor" in present else (0,):
        at: int | None = 1
        if depth:
            at = smallest(partial(trial, shortlist), target, start, limit)
        elif trial(shortlist, 1).surely < target:
            at = None
        if at is None or (best and trial(shortlist, at).cpu_s > 1.05 * trials[best].cpu_s):
            break
        # A shorter list needs at least this depth.
        best, start = (shortlist, at), at
    chosen = best or _least_of_the_best(trials)
    found = settings(*chosen)
    set_knobs(index.faiss_index, found)
    return found


def smallest(measure: Callable[[int], Trial], target: float, start: int, limit: int) -> int | None:
    """Find the smallest setting that reaches a recall, to within 1/16; None if none does."""
    at, failed, stalls, before = min(start, limit), 0, 0, -1.0
    while (trial := measure(at)).surely < target:
        stalls = stalls + 1 if trial.recall < before + _STALL else 0
        if at >= limit or stalls == 2:
            return None
        failed, before, at = at, trial.recall, min(2 * at, limit)
    while failed and at - failed > max(1, at // 16):
        middle = (at + failed) // 2
        if measure(middle).surely < target:
            failed = middle
        else:
            at = middle
    return at


def _least_of_the_best(trials: dict[tuple[int, int], Trial]) -> tuple[int, int]:
    highest = max(trial.recall for trial in trials.values())
    near = [at for at, trial in trials.items() if trial.recall >= highest - _STALL]
    return min(near)


def _try(index: NeighborIndex, vectors: Vectors, queries: Queries) -> Trial:
    before = time.process_time()
    _, found = index.search(queries.vectors, TUNED_K + 1)
    cpu_s = time.process_time() - before
    recall = shares(found, vectors, queries)
    mean = float(recall.mean())
    return Trial(mean, mean - 2 * float(recall.std()) / math.sqrt(len(recall)), cpu_s)
