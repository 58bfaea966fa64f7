"""Choose the type of a neighbor index by size, memory and recall."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from cellkin.store import machine
from cellkin.store.neighbors_faiss import faiss
from cellkin.wire.errors import InvalidArgumentError

AUTO = "auto"

# Floats of all vectors: a query alone is compared with as many in 6 to 8 ms, one of many in 0.3.
_FLAT_UP_TO = 20_000_000
_GRAPH_UP_TO = 1_000_000
_MEMORY_SHARE = 0.25
_LINKS = 32
# SQ8 keeps 8 bits per number. Its order agrees with the exact one in 97 to 99 of 100 neighbors,
# which limits the recall of any search; half precision keeps 999 of 1000.
_EIGHT_BITS_UP_TO = 0.95
_GIB = 1 << 30


@dataclass(frozen=True)
class Choice:
    """Type of an index and its search settings.

    Parameters
    ----------
    factory
        A FAISS factory string.
    why
        Reason for the choice, one sentence.
    parameters
        Search settings; empty until tuned.
    """

    factory: str
    why: str
    parameters: Mapping[str, int] = field(default_factory=dict)


def choose(
    n: int, dim: int, wanted: str = AUTO, recall: float = 0.98, memory_bytes: int | None = None
) -> Choice:
    """Choose the type of an index.

    Up to 20 million numbers (400,000 cells of 50 dimensions, 52,000 of 384) a flat index; up to a
    million cells an HNSW graph with 32 links, the fastest at equal recall; above that, or if it
    does not fit, inverted lists of one-bit (RaBitQ) codes whose candidates are scored again with
    quantized vectors.

    Parameters
    ----------
    n, dim
        Number and dimension of the vectors.
    wanted
        ``auto``, or a FAISS factory string.
    recall
        The requested recall@10, in (0, 1].
    memory_bytes
        Memory the index may use where it is served; None for a quarter of this machine's.

    Raises
    ------
    InvalidArgumentError
        If there is nothing to index, the recall is out of range, or FAISS cannot make the index.
    """
    if n < 1:
        raise InvalidArgumentError("there are no cells to index")
    if not 0 < recall <= 1:
        raise InvalidArgumentError(f"recall is {recall:g}; give a share in (0, 1]")
    if wanted != AUTO:
        new_index(wanted, dim)
        return Choice(wanted, "asked for by its factory string")
    budget = memory_bytes
    if budget is None:
        budget = int(_MEMORY_SHARE * machine.memory_bytes())
    flat, graph = n * 4 * dim, n * (4 * dim + 8.5 * _LINKS)
    what = f"{n} cells of {dim} dimensions"
    if n * dim <= _FLAT_UP_TO and flat <= budget:
        return Choice("Flat", f"{what}: up to {_FLAT_UP_TO:,} numbers are searched exactly")
    if n <= _GRAPH_UP_TO and graph <= budget:
        return Choice(
            f"HNSW{_LINKS}",
            f"{what}: up to {_GRAPH_UP_TO} a graph is fastest at equal recall, and it fits "
            f"({graph / _GIB:.2g} of {budget / _GIB:.2g} GiB)",
        )
    lists = f"IVF{list_count(n)},RaBitQ"
    codes = n * (dim / 8 + 16) + list_count(n) * 4 * dim
    half, eight = codes + n * 2 * dim, codes + n * dim
    reason = (
        f"more than {_GRAPH_UP_TO}" if n > _GRAPH_UP_TO else f"a graph takes {graph / _GIB:.2g} GiB"
    )
    if recall > _EIGHT_BITS_UP_TO and half <= budget:
        return Choice(
            f"{lists},Refine(SQfp16)",
            f"{what}: {reason}, so lists of short codes; half precision, for 8 bits do not "
            f"reliably reach a recall of {recall:g} ({half / _GIB:.2g} of {budget / _GIB:.2g} GiB)",
        )
    fits = "" if eight <= budget else ", more than allowed, but the smallest there is"
    return Choice(
        f"{lists},Refine(SQ8)",
        f"{what}: {reason}, so lists of short codes, scored again by 8 bits a number "
        f"({eight / _GIB:.2g} of {budget / _GIB:.2g} GiB{fits})",
    )


def list_count(n: int) -> int:
    """Return the number of inverted lists for n vectors: the power of two nearest 4 sqrt(n)."""
    return int(2 ** np.clip(np.round(np.log2(4 * np.sqrt(n))), 2, 20))


def new_index(factory: str, dim: int) -> faiss.Index:
    """Make an empty FAISS index for inner products.

    Raises
    ------
    InvalidArgumentError
        If FAISS cannot make it; the message is FAISS's own.
    """
    with refusing(factory, dim):
        return faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)


@contextmanager
def refusing(factory: str, dim: int) -> Iterator[None]:
    """Turn the errors of calls of FAISS into `InvalidArgumentError`: it cannot make the index.

    Only calls of FAISS belong inside, as its errors are plain `RuntimeError`.
    """
    try:
        yield
    except RuntimeError as error:
        said = str(error).rpartition(": ")[2] or str(error)
        raise InvalidArgumentError(
            f"FAISS makes no index {factory!r} of {dim} dimensions and inner product: "
            f"{said.strip()}; give another factory string, or auto"
        ) from error
