"""Recipes are data: what is written is what is read, and nothing else is."""

import json
from dataclasses import replace
from typing import Any

import pytest

from cellkin.space.recipe import RECIPES, TEXT_V1, TEXT_V1_NT_XENT, TEXT_V2, Recipe
from cellkin.wire.errors import InvalidArgumentError


@pytest.mark.parametrize(
    "recipe",
    [
        *RECIPES.values(),
        replace(
            TEXT_V1,
            name="other",
            expression="log1p",
            gene_weighting="none",
            top_n=0,
            whitening_shrinkage=None,
            centered=False,
        ),
    ],
)
def test_round_trip(recipe: Recipe) -> None:
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_a_setting_of_another_release_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="index the reference again"):
        Recipe.from_json({**TEXT_V1.to_json(), "rotation": 1})


def test_a_recipe_is_found_by_its_name_and_the_first_is_the_default() -> None:
    assert all(name == recipe.name for name, recipe in RECIPES.items())
    assert next(iter(RECIPES.values())) is TEXT_V2
    assert TEXT_V2.refined
    assert not TEXT_V1.refined
    assert TEXT_V1_NT_XENT.refined


@pytest.mark.parametrize(("refined", "recipe"), [(True, TEXT_V2), (False, TEXT_V1)])
def test_recipes_of_when_there_was_one_kind_of_head_are_read(refined: bool, recipe: Recipe) -> None:
    values = {**recipe.to_json(), "refined": refined}
    del values["head"]
    assert Recipe.from_json(values) == recipe
    assert "refined" in values
    with pytest.raises(InvalidArgumentError, match="this release knows"):
        Recipe.from_json({**values, "rotation": 1})


@pytest.mark.parametrize("setting", ["k", "vote_epsilon", "min_support"])
def test_how_labels_are_read_is_no_part_of_a_recipe(setting: str) -> None:
    with pytest.raises(InvalidArgumentError, match="this release knows"):
        Recipe.from_json({**TEXT_V1.to_json(), setting: 1})


@pytest.mark.parametrize(
    ("setting", "value", "listed"),
    [
        ("expression", "cube", "linear, log1p, sqrt"),
        ("gene_weighting", "tfidf", "idf, eta2, none"),
        ("head", "mlp", "none, supcon, nt-xent"),
        ("top_n", -1, "0 to inf"),
        ("top_n", "many", "0 to inf"),
        ("whitening_shrinkage", 1.5, "0 to 1"),
        ("statistics_cells", 0, "1 to inf"),
        ("statistics_cells", None, "1 to inf"),
        ("carry_k", 0, "1 to inf"),
        ("carry_temperature", 0, "1e-06 to inf"),
    ],
)
def test_an_unknown_choice_is_refused_and_the_known_are_listed(
    setting: str, value: Any, listed: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{setting} is .*{listed}"):
        Recipe.from_json({**TEXT_V1.to_json(), setting: value})
