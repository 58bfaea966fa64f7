"""Language models for free-text queries; loaded only if the operator names them.

Models are found by the entry points that `cellkin genes embed` uses, so the server does not import
a deep learning library itself.
"""

import threading
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from cellkin.server import calls
from cellkin.space.arrays import Float32Vector
from cellkin.store.catalog import Entry
from cellkin.wire.errors import InvalidArgumentError, ModelNotLoadedError, NotFoundError
from cellkin.wire.names import embedding_name

_GROUP = "cellkin.embedding_models"
MOST_SIGNS = 10_000


class TextModels:
    """The language models of one process.

    Parameters
    ----------
    specs
        ``NAME`` or ``NAME:ARGUMENT``, as for ``cellkin genes embed``.

    Raises
    ------
    NotFoundError
        If there is no such model, or its weights are not on this machine.
    """

    def __init__(self, specs: Iterable[str] = ()) -> None:
        self._turn = threading.Lock()
        self._models = {embedding_name(spec): _load(spec) for spec in specs}

    def embed(self, text: str, entry: Entry) -> Float32Vector:
        """Embed a text with the model of an embedding version.

        Parameters
        ----------
        text
            Free text.
        entry
            The embedding version.

        Returns
        -------
        Float32Vector
            (dim,) float32, unit length.

        Raises
        ------
        ModelNotLoadedError
            If the version's model is not loaded, or another revision of it is.
        InvalidArgumentError
            If the text is blank or longer than 10,000 characters.
        DeadlineExceededError, CancelledError
            If the request ended while the model embedded other texts.
        """
        if not text.strip() or len(text) > MOST_SIGNS:
            raise InvalidArgumentError(
                f"a text of {len(text)} signs; give 1 to {MOST_SIGNS}, not all blank", field="text"
            )
        model = self._models.get(entry.name)
        if model is None:
            loaded = ", ".join(sorted(self._models)) or "none"
            raise ModelNotLoadedError(
                f"a free text can be searched for where the server has loaded the language model; "
                f"it has {loaded}, not {entry.name}: start it with --text-model {entry.name}",
                {"model": entry.name},
            )
        made_by = entry.manifest["settings"].get("revision")
        if made_by != model.info.revision:
            raise ModelNotLoadedError(
                f"gene embedding {entry.full_name} was made by revision {made_by} of the model and "
                f"the server has {model.info.revision}: their vectors cannot be compared",
                {"model": entry.name},
            )
        with calls.turn(self._turn):
            vector: Float32Vector = np.asarray(model.embed([text])[0], np.float32)
        return vector


def _load(spec: str) -> Any:
    name, _, argument = spec.partition(":")
    for point in entry_points(group=_GROUP):
        if point.name == name:
            return point.load()(argument)
    there_are = ", ".join(sorted({point.name for point in entry_points(group=_GROUP)})) or "none"
    raise NotFoundError(f"no embedding model named {name!r}; there are: {there_are}")
