"""Array files in safetensors format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors.numpy import save


def save_arrays(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> None:
    """Write arrays as safetensors, with the usual file permissions of this user.

    Parameters
    ----------
    arrays
        C-contiguous arrays, by name.
    path
        Output file.
    """
    # safetensors' own `save_file` creates files that only their owner may read, and a server often
    # runs as a different user than the indexing job.
    path.write_bytes(save(dict(arrays)))
