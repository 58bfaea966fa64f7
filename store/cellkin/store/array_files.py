"""Files of arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors.numpy import save


def save_arrays(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> None:
    """Write arrays as safetensors, for whoever may read what this user writes.

    Parameters
    ----------
    arrays
        C-contiguous, by name.
    path
        The file.
    """
    # The library's own function makes files that nobody but their owner may read, and a server
    # often runs as another user than the one who indexed.
    path.write_bytes(save(dict(arrays)))
