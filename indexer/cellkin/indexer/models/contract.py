"""What an embedding model is, and what all of them check alike."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from cellkin.space.arrays import Float32Matrix, Int64Vector
from cellkin.wire.errors import FailedPreconditionError, InvalidArgumentError

Setting = str | int | float | bool


@dataclass(frozen=True)
class ModelInfo:
    """What identifies the vectors of a model: two models of equal info give equal vectors.

    Parameters
    ----------
    name
        As versions are named, such as ``all-minilm-l6-v2``.
    revision
        What pins the weights: ``sha256:`` and the digest of the weight file, or the provider's
        own name of the model.
    dim
        Width of a vector.
    settings
        Everything else that changes a vector: pooling, window, casing, number format.
    """

    name: str
    revision: str
    dim: int
    settings: Mapping[str, Setting]


@dataclass(frozen=True)
class TokenCounts:
    """What texts amount to for a model.

    Parameters
    ----------
    n_texts
        Texts given.
    n_tokens
        Tokens the model reads, those it adds at the ends among them.
    n_long
        Texts longer than the window. Whether these are read in windows or cut at the end stands
        in the model's settings, as ``long_texts``.
    exact
        Whether ``n_tokens`` was counted, or is only known not to be exceeded.
    """

    n_texts: int
    n_tokens: int
    n_long: int
    exact: bool = True


class EmbeddingModel(Protocol):
    """A language model that embeds texts.

    The vector of a text does not depend on the texts embedded beside it: a local model gives it
    bit for bit however the texts are divided between calls, so a run that was interrupted, or a
    single row embedded anew, equals a full run. (A remote model promises what its provider does.)
    """

    @property
    def info(self) -> ModelInfo:
        """What identifies the vectors."""
        ...

    def embed(self, texts: Sequence[str]) -> Float32Matrix:
        """Embed texts.

        Parameters
        ----------
        texts
            Texts, none of them blank.

        Returns
        -------
        Float32Matrix
            (n_texts, dim) float32, rows of unit length in the order of the texts.

        Raises
        ------
        InvalidArgumentError
            If a text is blank.
        """
        ...

    def count(self, texts: Sequence[str]) -> TokenCounts:
        """Count the tokens of texts and the texts longer than the window, embedding nothing."""
        ...


@dataclass(frozen=True)
class CostEstimate:
    """What embedding texts will cost.

    Parameters
    ----------
    n_requests
        Requests it takes.
    n_tokens
        Tokens to pay for.
    dollars
        Their price in US dollars by the provider's list; None where it is not known.
    exact
        Whether the tokens were counted; otherwise there are fewer, and it costs less.
    """

    n_requests: int
    n_tokens: int
    dollars: float | None
    exact: bool


@runtime_checkable
class PaidModel(EmbeddingModel, Protocol):
    """A model whose requests cost money, and so hands over the vectors of each as it comes."""

    def embed_parts(self, texts: Sequence[str]) -> Iterator[tuple[Int64Vector, Float32Matrix]]:
        """Embed texts, giving the vectors as they come.

        Yields
        ------
        tuple of Int64Vector and Float32Matrix
            Positions in ``texts``, (n,) int64, and their vectors, (n, dim) float32 of unit length.
            Parts come in any order; together they hold each text once.
        """
        ...

    def estimate(self, texts: Sequence[str]) -> CostEstimate:
        """Say what embedding texts will cost, sending none."""
        ...


def as_name(text: str) -> str:
    """Turn what a model is called elsewhere into a name as versions are named."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:100] or "model"


def check_texts(texts: Sequence[str]) -> None:
    """Refuse blank texts: what a model makes of nothing means nothing.

    Raises
    ------
    InvalidArgumentError
        If a text is empty or of white space only.
    """
    blank = [row for row, text in enumerate(texts) if not text.strip()]
    if blank:
        raise InvalidArgumentError(
            f"text {blank[0]} of {len(texts)} is blank ({len(blank)} in all): "
            "embed only genes that have a text"
        )


def unit_rows(vectors: Float32Matrix, model: str) -> Float32Matrix:
    """Scale vectors to unit length.

    Parameters
    ----------
    vectors
        (n, dim) float32.
    model
        Name of the model, for the error.

    Returns
    -------
    Float32Matrix
        (n, dim) float32, rows of unit length.

    Raises
    ------
    FailedPreconditionError
        If a vector has a value that is not finite, or no length.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if bad.size:
        raise FailedPreconditionError(
            f"model {model} gave {bad.size} of {len(vectors)} vectors with values that are not "
            f"finite or all zero, the first in row {bad[0]}; none was kept"
        )
    scaled: Float32Matrix = (vectors / lengths[:, None]).astype(np.float32)
    return scaled
