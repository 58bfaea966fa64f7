"""Select a CPU or CUDA device; torch is imported only where CUDA may be available."""

import ctypes
import re
import sys
from importlib.util import find_spec

from cellkin.wire.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    MissingDependencyError,
)

AUTO = "auto"
DEVICES = "auto, cpu, cuda or cuda:N"


def resolve(device: str) -> str:
    """Return ``cpu`` or the name of an available CUDA device.

    Parameters
    ----------
    device
        ``auto`` (CUDA if available), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    InvalidArgumentError
        If the device is not one of these.
    FailedPreconditionError
        If CUDA is requested but not available.
    MissingDependencyError
        If CUDA is requested and torch is not installed.
    """
    require_known(device)
    # Importing torch takes a second or two; skip it if there is no driver.
    if device == "cpu" or (device == AUTO and not (_has_driver() and find_spec("torch"))):
        return "cpu"
    require_torch(device)
    import torch

    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == AUTO:
        return "cuda:0" if n_devices else "cpu"
    number = int(device.partition(":")[2] or 0)
    if number >= n_devices:
        raise FailedPreconditionError(
            f"device {device!r} is asked for and torch {torch.__version__} sees {n_devices} CUDA "
            "devices; check the driver and that torch is a CUDA build, or use --device cpu"
        )
    return f"cuda:{number}"


def require_known(device: str) -> None:
    """Raise `InvalidArgumentError` for a name that is no device."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise InvalidArgumentError(f"device {device!r}; give {DEVICES}")


def require_torch(device: str) -> None:
    """Raise `MissingDependencyError` if torch is not installed."""
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
