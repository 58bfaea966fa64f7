"""Load embedding models by name."""

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from typing import Protocol

from cellkin.indexer.models.contract import EmbeddingModel
from cellkin.indexer.models.recipe import Runtime
from cellkin.wire.errors import InvalidArgumentError, MissingDependencyError, NotFoundError

GROUP = "cellkin.embedding_models"


class Loader(Protocol):
    """Target of an entry point of the group ``cellkin.embedding_models``."""

    def __call__(self, argument: str = "", *, allow_download: bool = False) -> EmbeddingModel:
        """Load the model; ``argument`` is the part of the spec after the colon."""
        ...


class EncoderLoader(Protocol):
    """A `Loader` of encoders, which several runtimes can compute."""

    def __call__(
        self, argument: str = "", *, allow_download: bool = False, runtime: Runtime | str
    ) -> EmbeddingModel:
        """Load the model."""
        ...


def model_names() -> list[str]:
    """Return the names of the installed embedding models."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load_model(
    spec: str, *, allow_download: bool = False, runtime: Runtime | str = Runtime.AUTO
) -> EmbeddingModel:
    """Load an embedding model.

    Parameters
    ----------
    spec
        ``NAME`` or ``NAME:ARGUMENT``, such as ``all-minilm-l6-v2``, ``biobert:FOLDER``,
        ``transformers:ORGANIZATION/MODEL@REVISION`` or ``text-embedding-3-small:512``.
    allow_download
        Whether weights that are not on this machine may be downloaded.
    runtime
        What computes an encoder.

    Raises
    ------
    NotFoundError
        If there is no model of that name, or its weights are not on this machine.
    InvalidArgumentError
        If a runtime is chosen for a model that is not computed here.
    MissingDependencyError
        If a package it needs is not installed.
    """
    name, _, argument = spec.partition(":")
    point = _find(name, list(entry_points(group=GROUP)))
    try:
        loader: Loader = point.load()
        if runtime == Runtime.AUTO:
            return loader(argument, allow_download=allow_download)
        if "runtime" not in signature(loader).parameters:
            raise InvalidArgumentError(
                f"model {name!r} has no runtime to choose; leave out the runtime {str(runtime)!r}"
            )
        chosen: EncoderLoader = point.load()
        return chosen(argument, allow_download=allow_download, runtime=runtime)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("cellkin"):
            raise
        extra = "openai" if error.name == "openai" else "embed"
        raise MissingDependencyError(
            f"embedding model {name!r} needs the package {error.name!r}, which is not installed: "
            f"pip install 'cellkin[{extra}]'"
        ) from error


def _find(name: str, points: Sequence[EntryPoint]) -> EntryPoint:
    for point in points:
        if point.name == name:
            return point
    there_are = ", ".join(sorted({point.name for point in points})) or "none"
    raise NotFoundError(f"no embedding model named {name!r}; there are: {there_are}")
