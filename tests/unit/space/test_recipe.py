"""Recipes are data: what is written is what is read, and nothing else is."""

import json

import pytest

from cellkin.space.recipe import TEXT_V1, Recipe
from cellkin.wire.errors import InvalidArgumentError


def test_round_trip() -> None:
    assert Recipe.from_json(json.loads(json.dumps(TEXT_V1.to_json()))) == TEXT_V1


def test_a_setting_of_another_release_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="index the reference again"):
        Recipe.from_json({**TEXT_V1.to_json(), "rotation": 1})
