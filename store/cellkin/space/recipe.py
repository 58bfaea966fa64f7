"""Recipes: all settings that turn counts into a cell vector, stored with the index."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeAlias, get_args

from cellkin.wire.errors import InvalidArgumentError

Expression: TypeAlias = Literal["linear", "log1p", "sqrt"]
"""Transformation of a gene's expression; see `Recipe`."""
GeneWeighting: TypeAlias = Literal["idf", "eta2", "none"]
"""Weight of a gene, independent of the cell; see `Recipe`."""
Head: TypeAlias = Literal["none", "supcon", "nt-xent"]
"""Loss by which a linear head is trained; see `Recipe`."""

_CHOICES = {
    "expression": get_args(Expression),
    "gene_weighting": get_args(GeneWeighting),
    "head": get_args(Head),
}
# Minimum and maximum of each setting; whitening_shrinkage may also be None.
_RANGES: dict[str, tuple[float, float]] = {
    "top_n": (0, float("inf")),
    "whitening_shrinkage": (0, 1),
    "statistics_cells": (1, float("inf")),
    "carry_k": (1, float("inf")),
    "carry_temperature": (1e-6, float("inf")),
}


@dataclass(frozen=True)
class Recipe:
    """How a cell's counts become a vector.

    With gene embeddings ``v_g``, gene weights ``weight_g``, the reference mean ``m`` and a head
    ``H``, all stored in the cell space, a cell is ``z = H (sum_g p_g v_g - m)``. The sum runs over
    the cell's matched genes, those that are expressed and have a vector; all other genes are
    ignored throughout. ``p_g`` is ``w_g = f(x_g) * weight_g``, set to zero outside the ``top_n``
    largest and then divided by its sum. ``f`` is computed in double precision and rounded to
    single, the product is in single precision, and ties of ``w_g`` go to the lowest GeneID, so that
    a CPU and an accelerator choose the same genes.

    Parameters
    ----------
    name
        Name of the recipe.
    expression
        ``f(x)``. ``linear``: ``x`` itself, counts or counts per 10,000, as the scale of a cell
        cancels. ``log1p``: ``ln(1 + 10,000 x / sum of the cell's x)``. ``sqrt``: the square root of
        ``x``.
    gene_weighting
        ``weight_g``. ``idf``: ``ln((1 + n) / (1 + n_detected))`` over cells of the reference.
        ``eta2``: ``B / (B + W + 0.001)`` of log expression, ``B`` the variance of the labels' means
        and ``W`` the mean variance within labels. ``none``: 1.
    top_n
        Number of genes used per cell; 0 for all.
    whitening_shrinkage
        Share of the mean eigenvalue in the covariance that whitens the gene embeddings, in [0, 1];
        None to only subtract their mean. Either way they are then scaled to unit length.
    centered
        Whether the mean of the reference cells is subtracted.
    head
        Training of the linear head. ``supcon``: supervised contrast, which draws cells of the same
        label together. ``nt-xent``: self-supervised contrast, which needs no labels and draws views
        of the same cell together, each with a part of its molecules. ``none``: no head.
    statistics_cells
        Approximate number of cells, spread evenly over the reference, that the IDF is computed
        from.
    carry_k, carry_temperature
        A gene not measured in the reference gets the mean weight of its ``carry_k`` nearest
        measured genes, weighted by ``softmax(cosine / carry_temperature)``.

    Raises
    ------
    InvalidArgumentError
        If a choice is unknown (the message lists the known ones) or a number is out of range.
    """

    name: str
    expression: Expression
    gene_weighting: GeneWeighting
    top_n: int
    whitening_shrinkage: float | None
    centered: bool
    head: Head
    statistics_cells: int
    carry_k: int
    carry_temperature: float

    def __post_init__(self) -> None:
        for setting, choices in _CHOICES.items():
            given = getattr(self, setting)
            if given not in choices:
                raise InvalidArgumentError(
                    f"recipe {self.name!r}: {setting} is {given!r}; choose {', '.join(choices)}"
                )
        for setting, (least, greatest) in _RANGES.items():
            value = getattr(self, setting)
            if value is None and setting == "whitening_shrinkage":
                continue
            if not isinstance(value, int | float) or not least <= value <= greatest:
                raise InvalidArgumentError(
                    f"recipe {self.name!r}: {setting} is {value!r}; "
                    f"give a number from {least:g} to {greatest:g}"
                )

    @property
    def refined(self) -> bool:
        """Whether there is a head."""
        return self.head != "none"

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recipe":
        """Build a recipe from the result of `to_json`.

        Raises
        ------
        InvalidArgumentError
            If a setting is missing or unknown, as in a recipe written by another release.
        """
        if "refined" in values and "head" not in values:
            # Older indexes, from when supervised contrast was the only head.
            values = dict(values)
            values["head"] = "supcon" if values.pop("refined") else "none"
        known = {field.name for field in fields(cls)}
        if set(values) != known:
            raise InvalidArgumentError(
                f"recipe has the settings {sorted(values)}, this release knows {sorted(known)}; "
                "use the release that wrote it, or index the reference again"
            )
        return cls(**values)


TEXT_V1 = Recipe(
    name="text-v1",
    expression="linear",
    gene_weighting="idf",
    top_n=1000,
    whitening_shrinkage=0.05,
    centered=True,
    head="none",
    statistics_cells=50_000,
    carry_k=5,
    carry_temperature=0.03,
)
"""Unsupervised: genes are weighted by how few cells express them."""

TEXT_V1_NT_XENT = replace(TEXT_V1, name="text-v1-nt-xent", head="nt-xent")
"""`TEXT_V1` refined by self-supervised contrast, also without labels."""

TEXT_V2 = replace(
    TEXT_V1, name="text-v2", expression="sqrt", gene_weighting="eta2", top_n=200, head="supcon"
)
"""Supervised: genes, also of other species, are weighted by how well they separate labels."""

PAPER = replace(
    TEXT_V1,
    name="paper",
    expression="log1p",
    gene_weighting="none",
    whitening_shrinkage=None,
    centered=False,
)
"""The expression-weighted mean of gene embeddings (arXiv:2509.23543), before refinement."""

PAPER_REFINED = replace(PAPER, name="paper-refined", centered=True, head="supcon")
"""`PAPER`, centered and refined by supervised contrast."""

RECIPES = {
    recipe.name: recipe for recipe in (TEXT_V2, TEXT_V1, TEXT_V1_NT_XENT, PAPER, PAPER_REFINED)
}
"""Recipes by name; the first is the default."""
