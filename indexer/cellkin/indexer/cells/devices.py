"""Create the projector of a device; torch is imported only if the device needs it."""

from cellkin.indexer.devices import resolve
from cellkin.space.projection import CellSpace, CpuProjector, GeneColumns, Projector


def projector(device: str, space: CellSpace, columns: GeneColumns, threads: int) -> Projector:
    """Return the projector of cells for a device.

    All devices choose the same genes for a cell. Their sums agree to about 1e-6; on one device they
    are bit-identical from run to run, whatever the block.

    Parameters
    ----------
    device
        ``auto`` (CUDA if available), ``cpu``, ``cuda`` or ``cuda:N``.
    space, columns
        The fitted space, and the genes of the columns.
    threads
        CPU threads.

    Raises
    ------
    InvalidArgumentError
        If the device is not one of these.
    FailedPreconditionError
        If CUDA is requested but not available.
    MissingDependencyError
        If CUDA is requested and torch is not installed.
    """
    if resolve(device) != "cpu":
        from cellkin.indexer.cells.torch_projection import TorchProjector

        return TorchProjector(space, columns, resolve(device))
    return CpuProjector(space, columns, threads)
