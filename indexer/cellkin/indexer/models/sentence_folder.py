"""Read the pooling, window and casing of a sentence-transformers folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellkin.indexer.models.recipe import Pooling, Recipe
from cellkin.wire.errors import InputFileError

_POOLINGS = {
    "cls": Pooling.CLS,
    "mean": Pooling.MEAN,
    "max": Pooling.MAX,
    "lasttoken": Pooling.LAST,
}
# Flags of older files; newer ones have one `pooling_mode`.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}


def read_sentence_folder(folder: Path, recipe: Recipe) -> tuple[Path, Recipe]:
    """Complete a recipe with the settings of a sentence-transformers folder.

    Parameters
    ----------
    folder
        A model folder; without a ``modules.json`` the recipe is returned unchanged.
    recipe
        The recipe to complete.

    Returns
    -------
    tuple of Path and Recipe
        The folder of the encoder, and the recipe with the pooling, window and casing found.

    Raises
    ------
    InputFileError
        If the model needs modules, a pooling or a prompt that are not supported, or a file is
        damaged.
    """
    if not (folder / "modules.json").is_file():
        return folder, recipe
    modules = _modules(folder / "modules.json")
    unknown = sorted(modules.keys() - {"Transformer", "Pooling", "Normalize"})
    if unknown or not {"Transformer", "Pooling"} <= modules.keys():
        raise InputFileError(
            f"{folder}/modules.json: the modules are {', '.join(modules)}; supported are "
            "Transformer, Pooling and Normalize"
        )
    prompt = _read(folder / "config_sentence_transformers.json").get("default_prompt_name")
    if prompt:
        raise InputFileError(
            f"{folder}: the model puts the prompt {prompt!r} before every text, which is not "
            "supported; choose a model without a default prompt"
        )
    encoder = folder / modules["Transformer"]
    sentence = _read(encoder / "sentence_bert_config.json")
    return encoder, replace(
        recipe,
        pooling=_pooling(folder / modules["Pooling"] / "config.json"),
        max_tokens=sentence.get("max_seq_length"),
        lower_case=True if sentence.get("do_lower_case") else recipe.lower_case,
    )


def _modules(path: Path) -> dict[str, str]:
    """Return the folder of each module by its class."""
    entries = _parsed(path)
    try:
        return {entry["type"].rpartition(".")[2]: str(entry["path"]) for entry in entries}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputFileError(
            f"{path}: not a list of modules, each with a type and a path ({error!r}); download the "
            "model again"
        ) from error


def _pooling(path: Path) -> Pooling:
    config = _read(path)
    stated = config.get("pooling_mode")
    modes = [stated] if stated else [mode for flag, mode in _FLAGS.items() if config.get(flag)]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise InputFileError(
            f"{path}: the pooling is {' and '.join(map(str, modes)) or 'not stated'}; "
            f"supported are {', '.join(_POOLINGS)}"
        )
    return _POOLINGS[modes[0]]


def _read(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file, or an empty one if there is no file."""
    found = _parsed(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise InputFileError(f"{path}: not a JSON object; download the model again")
    return found


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise InputFileError(f"{path}: not JSON: {error}") from error
