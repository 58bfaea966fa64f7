"""What cellkin knows about FAISS: that one is installed, how its indexes nest, their settings.

FAISS takes its threads from the environment when it is imported: ``OMP_NUM_THREADS`` says how many
a search may use (``faiss.omp_set_num_threads`` binds the calling thread only); commands set it to
the cores there are, and the server to 1. That waiting threads sleep, see `cellkin.store`, costs a
third less CPU time on a busy machine than spinning.
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
"""The distributions that bring the module ``faiss``."""

_made: Any = faiss  # Its classes take arrays and keywords, which its own types do not know.
_KNOBS = {"nprobe": "nprobe", "efSearch": "efSearch", "k_factor": "k_factor_rf"}


@cache
def require_one_faiss() -> None:
    """Refuse an environment into which several distributions of FAISS were installed.

    They overwrite each other's files silently, and what is left is of neither.

    Raises
    ------
    FailedPreconditionError
        If there are several; the message says what to uninstall.
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
    """Yield an index and the ones inside it that hold vectors, from the outside in.

    The caller keeps ``index`` alive while it uses them: FAISS frees the inner ones with it.
    """
    layer = faiss.downcast_index(index)
    yield layer
    for inner in ("base_index", "index"):
        if hasattr(layer, inner):
            yield from layers(getattr(layer, inner))


def knobs(index: faiss.Index) -> dict[str, int]:
    """Return the search settings an index has: ``nprobe``, ``efSearch``, ``k_factor``.

    FAISS files keep them, so an index that is loaded searches as the one that was saved.
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
    """Set search settings; only on an index that no other thread searches yet."""
    space = faiss.ParameterSpace()
    for name, value in values.items():
        space.set_index_parameter(index, _KNOBS[name], value)


def flat_vectors(index: Any) -> Float32Matrix:
    """Return the (n, dim) float32 vectors of a flat index where they lie; good as long as it is."""
    n, dim = int(index.ntotal), int(index.d)
    vectors: Float32Matrix = _made.rev_swig_ptr(index.get_xb(), n * dim).reshape(n, dim)
    return vectors


def n_lists(index: faiss.Index) -> int:
    """Return the inverted lists of an index, 0 where it has none."""
    return next((int(layer.nlist) for layer in layers(index) if hasattr(layer, "nlist")), 0)


def shape(index: faiss.Index) -> tuple[tuple[object, ...], ...]:
    """Describe what an index is made of, but for its size and the number of its lists."""
    found: list[tuple[object, ...]] = []
    for layer in layers(index):
        links = layer.hnsw.nb_neighbors(1) if hasattr(layer, "hnsw") else 0
        code = layer.code_size if hasattr(layer, "code_size") else 0
        # What is read from a file is a subclass of its own.
        name = "IndexFlat" if isinstance(layer, faiss.IndexFlat) else type(layer).__name__
        found.append((name, int(layer.d), int(links), int(code)))
        if hasattr(layer, "refine_index"):
            found += shape(layer.refine_index)
    return tuple(found)


_FARTHEST = 20


def only_among(index: faiss.Index, passing: BoolVector) -> Any:
    """Return FAISS search parameters by which only some vectors are found.

    The rarer these are, the farther an index that is not exact looks, up to 20 times as far.

    Parameters
    ----------
    index
        The index, which keeps its own settings.
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
