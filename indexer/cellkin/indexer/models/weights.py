"""Find and check the files of a checkpoint; imports no deep learning library."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellkin.indexer.models.recipe import Recipe
from cellkin.store.digest import file_digest
from cellkin.wire.errors import InputFileError, IntegrityError, NotFoundError

_WEIGHTS = "model.safetensors"
_SHARDS = "model.safetensors.index.json"
# The automatic classes refuse a config.json without model_type.
BERT_CLASSES = ("BertModel", "BertTokenizerFast")
AUTO_CLASSES = ("AutoModel", "AutoTokenizer")


def read_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of a checkpoint.

    Raises
    ------
    NotFoundError
        If there is no such folder.
    InputFileError
        If the configuration is missing or damaged.
    """
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: no such folder; give the folder of a language model")
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    except FileNotFoundError as error:
        raise InputFileError(
            f"{folder}: config.json is missing; a model folder has config.json, {_WEIGHTS} "
            "and the files of its tokenizer"
        ) from error
    except ValueError as error:
        raise InputFileError(f"{folder}/config.json: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise InputFileError(f"{folder}/config.json: not a JSON object; download the model again")
    return config


def says_bert(config: Mapping[str, Any], recipe: Recipe) -> bool:
    """Return whether a checkpoint is a BERT; early ones do not say what they are."""
    return recipe.bert or config.get("model_type", "bert") == "bert"


def check_weights(folder: Path, recipe: Recipe, is_bert: bool) -> str:
    """Return the digest of the weight file, or that of the shards' digests, after checking it.

    Raises
    ------
    InputFileError
        If a file of weights is missing, or the index of its parts is damaged.
    IntegrityError
        If the weights do not have the expected digest.
    """
    weights = folder / _WEIGHTS
    if weights.is_file():
        digest = file_digest(weights)
    elif (folder / _SHARDS).is_file():
        weights = folder / _SHARDS
        shards = _shards(weights)
        digest = hashlib.sha256("".join(map(file_digest, shards)).encode()).hexdigest()
    else:
        raise InputFileError(_no_weights(folder, recipe, is_bert))
    if recipe.weights_sha256 not in (None, digest):
        raise IntegrityError(
            f"{weights}: the SHA-256 is {digest}, that of {recipe.name} is "
            f"{recipe.weights_sha256}: it is damaged or is another model; reinstall it"
        )
    return f"sha256:{digest}"


def _shards(index: Path) -> list[Path]:
    """Return the files of weights that an index names, and check that they exist."""
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        shards = [index.parent / name for name in names]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputFileError(
            f"{index}: the index of the weights is damaged ({error!r}); download the model again"
        ) from error
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise InputFileError(
            f"{index.parent}: {len(missing)} of {len(shards)} files of weights are missing, such "
            f"as {missing[0]}; download the model again"
        )
    return shards


def _no_weights(folder: Path, recipe: Recipe, is_bert: bool) -> str:
    model, tokenizer = BERT_CLASSES if is_bert else AUTO_CLASSES
    casing = "" if recipe.lower_case is None else f", do_lower_case={recipe.lower_case}"
    return (
        f"{folder}: {_WEIGHTS} is missing. Pickled weights (pytorch_model.bin) are not read: a "
        "pickle can run any code. If you trust them, convert them once and give the folder NEW: "
        f'python -c "from transformers import {model} as M, {tokenizer} as T; '
        f"M.from_pretrained('OLD').save_pretrained('NEW'); "
        f"T.from_pretrained('OLD'{casing}).save_pretrained('NEW')\""
    )
