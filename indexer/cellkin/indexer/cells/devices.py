"""Where cells are projected: the CPU, or an accelerator with what it needs imported on demand."""

import ctypes
import re
import sys
from collections.abc import Iterable
from importlib.util import find_spec

from llvmlite import binding  # type: ignore[import-untyped]

from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.space.projection import CellSpace, CpuProjector, GeneColumns, Projector
from cellkin.wire.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    MissingDependencyError,
)

DEVICES = "auto, cpu, cuda or cuda:N"


def projector(device: str, space: CellSpace, columns: GeneColumns, threads: int) -> Projector:
    """Return what projects cells on a device.

    Every device chooses the same genes for a cell. Their sums agree to about 1e-6, and are the same
    bit for bit from run to run on one device, whatever the block.

    Parameters
    ----------
    device
        ``auto`` (CUDA if there is any), ``cpu``, ``cuda`` or ``cuda:N``.
    space, columns
        The fitted recipe, and the genes of the columns.
    threads
        Threads of the CPU.

    Raises
    ------
    InvalidArgumentError
        If the device is none of these.
    FailedPreconditionError
        If CUDA is asked for and absent.
    MissingDependencyError
        If CUDA is asked for and torch is not installed.
    """
    if _resolve(device) != "cpu":
        from cellkin.indexer.cells.torch_projection import TorchProjector

        return TorchProjector(space, columns, _resolve(device))
    if space.recipe.top_n == 0 and _cpu_has_amx():
        from cellkin.indexer.cells.torch_projection import Bf16Projector

        return Bf16Projector(space, columns, threads)
    return CpuProjector(space, columns, threads)


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
        As for `projector`.

    Returns
    -------
    scores
        (n_queries, k) float32 cosine similarity, best first, -inf where there are fewer vectors.
    ids
        (n_queries, k) int64, -1 where there are fewer; ties by ascending id.
    """
    resolved = _resolve(device)
    _require_torch(device)
    from cellkin.indexer.cells.exact import nearest

    return nearest(queries, batches, k, resolved)


def _resolve(device: str) -> str:
    """Return ``cpu`` or a CUDA device that is there."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise InvalidArgumentError(f"device {device!r}; give {DEVICES}")
    # Importing torch takes a second or two; without a driver there is no need to.
    if device == "cpu" or (device == "auto" and not (_has_driver() and find_spec("torch"))):
        return "cpu"
    _require_torch(device)
    import torch

    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda:0" if n_devices else "cpu"
    number = int(device.partition(":")[2] or 0)
    if number >= n_devices:
        raise FailedPreconditionError(
            f"device {device!r} is asked for and torch {torch.__version__} sees {n_devices} CUDA "
            "devices; check the driver and that torch is a CUDA build, or use --device cpu"
        )
    return f"cuda:{number}"


def _require_torch(device: str) -> None:
    if find_spec("torch") is None:
        raise MissingDependencyError(
            f"device {device!r} needs torch, which is not installed; "
            'pip install "cellkin[embed]", or use --device cpu'
        )


def _has_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _cpu_has_amx() -> bool:
    """Say whether this CPU multiplies bfloat16 matrices in tiles, and torch may use them."""
    if not binding.get_host_cpu_features().get("amx-bf16", False) or find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cpu._is_amx_tile_supported())
