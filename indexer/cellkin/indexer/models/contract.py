"""The interface of embedding models, and the checks they share."""

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
    """Identity of the vectors of a model: models with equal info give equal vectors.

    Parameters
    ----------
    name
        Name, valid as that of a version, such as ``all-minilm-l6-v2``.
    revision
        Identity of the weights: ``sha256:`` and the digest of the weight file, or the provider's
        name of the model.
    dim
        Width of a vector.
    settings
        Everything else that changes a vector, such as pooling, window, casing and number format.
    """

    name: str
    revision: str
    dim: int
    settings: Mapping[str, Setting]


@dataclass(frozen=True)
class TokenCounts:
    """Numbers of texts and of their tokens.

    Parameters
    ----------
    n_texts
        Number of texts.
    n_tokens
        Tokens that the model reads, including special tokens.
    n_long
        Texts longer than the window. The model's setting ``long_texts`` says whether they are read
        in windows or truncated.
    exact
        Whether ``n_tokens`` was counted; otherwise it is an upper bound.
    """

    n_texts: int
    n_tokens: int
    n_long: int
    exact: bool = True


class EmbeddingModel(Protocol):
    """A language model that embeds texts.

    The vector of a text does not depend on the other texts of a call. Local models return the same
    bits however texts are distributed over calls, so that an interrupted run, or a single text
    embedded again, equals a full run. Remote models promise only what their provider does.
    """

    @property
    def info(self) -> ModelInfo:
        """Identity of the vectors."""
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
        """Count the tokens of texts and the texts longer than the window, without embedding."""
        ...


@dataclass(frozen=True)
class CostEstimate:
    """Cost of embedding texts.

    Parameters
    ----------
    n_requests
        Requests to send.
    n_tokens
        Tokens to pay for.
    dollars
        Their list price in US dollars; None if unknown.
    exact
        Whether the tokens were counted; otherwise tokens and price are upper bounds.
    """

    n_requests: int
    n_tokens: int
    dollars: float | None
    exact: bool


@runtime_checkable
class PaidModel(EmbeddingModel, Protocol):
    """A model whose requests cost money, so that vectors are yielded per request."""

    def embed_parts(self, texts: Sequence[str]) -> Iterator[tuple[Int64Vector, Float32Matrix]]:
        """Embed texts, yielding vectors as they arrive.

        Yields
        ------
        tuple of Int64Vector and Float32Matrix
            Positions in ``texts``, (n,) int64, and their vectors, (n, dim) float32 of unit length.
            Parts are in any order; each text is in exactly one.
        """
        ...

    def estimate(self, texts: Sequence[str]) -> CostEstimate:
        """Estimate the cost of embedding texts, without sending them."""
        ...


def as_name(text: str) -> str:
    """Convert an external model name to a valid version name."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:100] or "model"


def check_texts(texts: Sequence[str]) -> None:
    """Reject blank texts, whose vectors would have no meaning.

    Raises
    ------
    InvalidArgumentError
        If a text is empty or has only white space.
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
        Name of the model, for the error message.

    Returns
    -------
    Float32Matrix
        (n, dim) float32, rows of unit length.

    Raises
    ------
    FailedPreconditionError
        If a vector has a value that is not finite, or is zero.
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
