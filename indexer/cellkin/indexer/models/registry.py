"""Load embedding models by name."""

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from cellkin.indexer.models.contract import EmbeddingModel
from cellkin.wire.errors import MissingDependencyError, NotFoundError

GROUP = "cellkin.embedding_models"


class Loader(Protocol):
    """Target of an entry point of the group ``cellkin.embedding_models``."""

    def __call__(self, argument: str = "", *, allow_download: bool = False) -> EmbeddingModel:
        """Load the model; ``argument`` is the part of the spec after the colon."""
        ...


def model_names() -> list[str]:
    """Return the names of the installed embedding models."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load_model(spec: str, *, allow_download: bool = False) -> EmbeddingModel:
    """Load an embedding model.

    Parameters
    ----------
    spec
        ``NAME`` or ``NAME:ARGUMENT``, such as ``all-minilm-l6-v2``, ``biobert:FOLDER``,
        ``transformers:ORGANIZATION/MODEL@REVISION`` or ``text-embedding-3-small:512``.
    allow_download
        Whether weights that are not on this machine may be downloaded.

    Raises
    ------
    NotFoundError
        If there is no model of that name, or its weights are not on this machine.
    MissingDependencyError
        If a package it needs is not installed.
    """
    name, _, argument = spec.partition(":")
    point = _find(name, list(entry_points(group=GROUP)))
    try:
        loader: Loader = point.load()
        return loader(argument, allow_download=allow_download)
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
