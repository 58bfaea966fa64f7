"""Where cells are projected: the CPU, or an accelerator with what it needs imported on demand."""

from importlib.util import find_spec

from llvmlite import binding  # type: ignore[import-untyped]

from cellkin.indexer.devices import resolve
from cellkin.space.projection import CellSpace, CpuProjector, GeneColumns, Projector


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
    if resolve(device) != "cpu":
        from cellkin.indexer.cells.torch_projection import TorchProjector

        return TorchProjector(space, columns, resolve(device))
    if space.recipe.top_n == 0 and _cpu_has_amx():
        from cellkin.indexer.cells.torch_projection import Bf16Projector

        return Bf16Projector(space, columns, threads)
    return CpuProjector(space, columns, threads)


def _cpu_has_amx() -> bool:
    """Say whether this CPU multiplies bfloat16 matrices in tiles, and torch may use them."""
    if not binding.get_host_cpu_features().get("amx-bf16", False) or find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cpu._is_amx_tile_supported())
