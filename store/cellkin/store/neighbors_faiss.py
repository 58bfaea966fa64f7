"""FAISS utilities: installation check, nested indexes and their search settings.

FAISS reads ``OMP_NUM_THREADS``, the threads of a search, when it is imported
(``faiss.omp_set_num_threads`` only affects the calling thread); commands set it to the available
cores, the server to 1. Waiting threads sleep, see `cellkin.store`, which costs a third less CPU
time on a busy machine than spinning.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import numpy as np

from cellkin.space.arrays import BoolVector, Float32Matrix
from cellkin.wire.errors import FailedPreconditionError, MissingDependencyError

try:
    import faiss
except ImportError as error:
    raise MissingDependencyError(
        "FAISS is not installed; install cellkin[cpu], or cellkin[gpu] for a CUDA device"
    ) from error

__all__ = [
    "faiss", "flat_vectors", "knobs", "layers", "n_lists", "only_among", "require_one_faiss",
    "set_knobs", "shape",
]  # fmt: skip

DISTRIBUTIONS = (
    "faiss-cpu",
    "faiss-gpu",
    "faiss-gpu-cuvs",
    "faiss-gpu-cu11",
    "faiss-gpu-cu12",
    "faiss-gpu-cu12-cuvs",
    "faiss-gpu-cu13-cuvs",
    "faiss-cuda",
)
"""The distributions that provide the module ``faiss``."""

_made: Any = faiss  # Its classes accept arrays and keywords that its types lack.
_KNOBS = {"nprobe": "nprobe", "efSearch": "efSearch", "k_factor": "k_factor_rf"}


@cache
def require_one_faiss() -> None:
    """Raise if several distributions of FAISS are installed.

    They silently overwrite each other's files, so that none of them is intact.

    Raises
    ------
    FailedPreconditionError
        If there are several; the message lists what to uninstall.
    """
    found = [name for name in DISTRIBUTIONS if _installed(name)]
    if len(found) > 1:
        raise FailedPreconditionError(
            f"{' and '.join(found)} are installed together and overwrite each other's files; "
            f"run `pip uninstall {' '.join(found)}` and install one of them again"
        )


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def layers(index: faiss.Index) -> Iterator[Any]:
    """Yield an index and its nested indexes that hold vectors, from the outside in.

    Keep ``index`` alive while using them: FAISS frees the nested indexes with it.
    """
    layer = faiss.downcast_index(index)
    yield layer
    for inner in ("base_index", "index"):
        if hasattr(layer, inner):
            yield from layers(getattr(layer, inner))


def knobs(index: faiss.Index) -> dict[str, int]:
    """Return the search settings of an index: ``nprobe``, ``efSearch``, ``k_factor``.

    FAISS files include them, so a loaded index searches like the saved one.
    """
    found: dict[str, int] = {}
    for layer in layers(index):
        if hasattr(layer, "k_factor"):
            found["k_factor"] = int(layer.k_factor)
        if hasattr(layer, "nprobe"):
            found["nprobe"] = int(layer.nprobe)
        if hasattr(layer, "hnsw"):
            found["efSearch"] = int(layer.hnsw.efSearch)
    return found


def set_knobs(index: faiss.Index, values: Mapping[str, int]) -> None:
    """Set search settings, before any other thread searches the index."""
    space = faiss.ParameterSpace()
    for name, value in values.items():
        space.set_index_parameter(index, _KNOBS[name], value)


def flat_vectors(index: Any) -> Float32Matrix:
    """Return a (n, dim) float32 view of the vectors of a flat index, valid while it exists."""
    n, dim = int(index.ntotal), int(index.d)
    vectors: Float32Matrix = _made.rev_swig_ptr(index.get_xb(), n * dim).reshape(n, dim)
    return vectors


def n_lists(index: faiss.Index) -> int:
    """Return the number of inverted lists of an index, 0 if it has none."""
    return next((int(layer.nlist) for layer in layers(index) if hasattr(layer, "nlist")), 0)


def shape(index: faiss.Index) -> tuple[tuple[object, ...], ...]:
    """Describe the structure of an index, except its size and number of lists."""
    found: list[tuple[object, ...]] = []
    for layer in layers(index):
        links = layer.hnsw.nb_neighbors(1) if hasattr(layer, "hnsw") else 0
        code = layer.code_size if hasattr(layer, "code_size") else 0
        # An index read from a file is of a separate subclass.
        name = "IndexFlat" if isinstance(layer, faiss.IndexFlat) else type(layer).__name__
        found.append((name, int(layer.d), int(links), int(code)))
        if hasattr(layer, "refine_index"):
            found += shape(layer.refine_index)
    return tuple(found)


_FARTHEST = 20


def only_among(index: faiss.Index, passing: BoolVector) -> Any:
    """Return FAISS search parameters that restrict a search to some vectors.

    The fewer pass, the farther an approximate index searches, up to 20 times as far.

    Parameters
    ----------
    index
        The index; its own settings are not changed.
    passing
        (n,) bool, the vectors that may be found.
    """
    selector = _made.IDSelectorBitmap(np.packbits(passing, bitorder="little"))
    farther = min(_FARTHEST, 1 / max(float(passing.mean()), 1e-9)) if len(passing) else 1.0
    return _among(faiss.downcast_index(index), selector, farther)


def _among(layer: Any, selector: Any, farther: float) -> Any:
    if hasattr(layer, "refine_index"):
        return _made.IndexRefineSearchParameters(
            k_factor=layer.k_factor,
            base_index_params=_among(faiss.downcast_index(layer.base_index), selector, farther),
        )
    if hasattr(layer, "chain"):
        inner = _among(faiss.downcast_index(layer.index), selector, farther)
        return _made.SearchParametersPreTransform(index_params=inner)
    if hasattr(layer, "nprobe"):
        n_probe = min(int(layer.nlist), round(layer.nprobe * farther))
        return _made.SearchParametersIVF(sel=selector, nprobe=n_probe)
    if hasattr(layer, "hnsw"):
        wide = min(int(layer.ntotal), round(layer.hnsw.efSearch * farther))
        return _made.SearchParametersHNSW(sel=selector, efSearch=wide)
    return _made.SearchParameters(sel=selector)
