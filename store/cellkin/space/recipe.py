"""Recipes: every choice that turns counts into a cell vector, as data stored with the index."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from cellkin.wire.errors import InvalidArgumentError


@dataclass(frozen=True)
class Recipe:
    """How a cell's counts become a vector, and how its neighbors vote.

    With gene vectors ``v_g``, gene weights ``idf_g`` and the reference mean ``m``, all stored in
    the cell space, a cell of linear expression ``x_g`` is ``z = H (sum_g w_g v_g - m)``, where
    ``w_g`` is ``x_g * idf_g``, zero outside the ``top_n`` largest, divided by the sum of what is
    left. The scale of a cell cancels, so counts and counts per 10,000 give the same vector.

    Parameters
    ----------
    name
        Name of the recipe.
    top_n
        Genes of a cell that count, the largest ``w_g``; among equals the lowest GeneID.
    whitening_shrinkage
        Share of the mean eigenvalue in the covariance that whitens the gene vectors, in (0, 1].
    carry_k, carry_temperature
        A gene the reference never measured takes the weight of its ``carry_k`` nearest measured
        genes, averaged by ``softmax(cosine / carry_temperature)``.
    k
        Neighbors that vote.
    vote_epsilon
        A neighbor of cosine ``c`` votes with ``1 / max(1 - c, vote_epsilon)``.
    min_support
        Below this share of the vote a cell is called unknown, in [0, 1].
    """

    name: str
    top_n: int
    whitening_shrinkage: float
    carry_k: int
    carry_temperature: float
    k: int
    vote_epsilon: float
    min_support: float

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recipe":
        """Read a recipe back.

        Raises
        ------
        InvalidArgumentError
            If a setting is missing or unknown: it was written by another release.
        """
        known = {field.name for field in fields(cls)}
        if set(values) != known:
            raise InvalidArgumentError(
                f"recipe has the settings {sorted(values)}, this release knows {sorted(known)}; "
                "use the release that wrote it, or index the reference again"
            )
        return cls(**values)


TEXT_V1 = Recipe(
    name="text-v1",
    top_n=1000,
    whitening_shrinkage=0.05,
    carry_k=5,
    carry_temperature=0.03,
    k=10,
    vote_epsilon=1e-4,
    min_support=0.5,
)
"""The unsupervised recipe that works with and without shared genes."""
