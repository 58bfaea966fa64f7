"""Load an encoder with the runtime that computes it; imports that runtime alone."""

from importlib.util import find_spec
from pathlib import Path

from cellkin.indexer import devices
from cellkin.indexer.models.recipe import Recipe, Runtime
from cellkin.indexer.models.weights import read_config, says_bert
from cellkin.indexer.models.windows import WindowedModel
from cellkin.wire.errors import MissingDependencyError


def load_encoder(
    folder: Path, recipe: Recipe, runtime: Runtime | str = Runtime.AUTO
) -> WindowedModel:
    """Load an encoder from a folder.

    Parameters
    ----------
    folder, recipe
        See `cellkin.indexer.models.checkpoint.load_folder`.
    runtime
        What computes it.

    Raises
    ------
    NotFoundError
        If there is no such folder.
    MissingDependencyError
        If the runtime is not installed.
    InputFileError
        If a file is missing or unreadable, or weights, vocabulary and casing do not match.
    IntegrityError
        If the weights do not have the expected digest.
    """
    if _chosen(folder, recipe, Runtime(runtime)) is Runtime.OPENVINO:
        from cellkin.indexer.models.openvino_model import load_openvino

        return load_openvino(folder, recipe)
    from cellkin.indexer.models.checkpoint import load_folder

    return load_folder(folder, recipe)


def _chosen(folder: Path, recipe: Recipe, runtime: Runtime) -> Runtime:
    if runtime is Runtime.TORCH:
        return runtime
    installed = find_spec("openvino") is not None
    if runtime is Runtime.OPENVINO:
        if not installed:
            raise MissingDependencyError(
                "runtime 'openvino' needs the package 'openvino', which is not installed: "
                "pip install 'cellkin[fast]', or use the runtime torch"
            )
        return runtime
    # Measured with encoders of this kind; see docs/benchmarks.md. CUDA is faster than any CPU.
    fits = installed and says_bert(read_config(folder), recipe)
    return Runtime.OPENVINO if fits and devices.resolve(devices.AUTO) == "cpu" else Runtime.TORCH
