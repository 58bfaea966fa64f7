"""Load an encoder from a folder with safetensors weights, and check that its files agree."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from cellkin.indexer.models.contract import ModelInfo, Setting
from cellkin.indexer.models.encoder import TransformerModel
from cellkin.indexer.models.recipe import Recipe
from cellkin.indexer.models.weights import (
    AUTO_CLASSES,
    BERT_CLASSES,
    check_weights,
    read_config,
    says_bert,
)
from cellkin.wire.errors import InputFileError


@dataclass(frozen=True)
class Checkpoint:
    """An encoder as torch and transformers read it.

    Parameters
    ----------
    info
        Identity of its vectors.
    tokenizer, module
        Of transformers; the module is in evaluation mode, on its device.
    """

    info: ModelInfo
    tokenizer: Any
    module: Any


def load_folder(folder: Path, recipe: Recipe, device: str | None = None) -> TransformerModel:
    """Load an encoder from a folder.

    Parameters
    ----------
    folder
        Folder with ``config.json``, ``model.safetensors`` and the files of the tokenizer.
    recipe
        Settings of the model.
    device
        Device of torch; None for CUDA if available, else the CPU. Numbers are float32 on the CPU,
        and bfloat16, or float16 if the device has no bfloat16, on CUDA.

    Raises
    ------
    NotFoundError
        If there is no such folder.
    InputFileError
        If a file is missing or unreadable, or weights, vocabulary and casing do not match.
    IntegrityError
        If the weights do not have the expected digest.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    read = read_checkpoint(folder, recipe, device)
    max_tokens = int(read.info.settings["max_tokens"])
    return TransformerModel(
        read.info, read.tokenizer, read.module, recipe.pooling, max_tokens, batched=device != "cpu"
    )


def read_checkpoint(folder: Path, recipe: Recipe, device: str) -> Checkpoint:
    """Read and check the files of an encoder; parameters and errors as those of `load_folder`."""
    is_bert = says_bert(read_config(folder), recipe)
    revision = check_weights(folder, recipe, is_bert)
    dtype = _dtype_on(device)
    with quiet():
        tokenizer = _load_tokenizer(folder, recipe, is_bert)
        module = _load_module(folder, recipe, is_bert).to(device=device, dtype=dtype).eval()
    _check_vocabulary(folder, tokenizer, module, recipe)
    dim = int(module.config.hidden_size)
    if recipe.dim not in (None, dim):
        raise InputFileError(
            f"{folder}: vectors of {recipe.name} have {recipe.dim} dimensions, those of this "
            f"checkpoint {dim}: it is another model"
        )
    settings: dict[str, Setting] = {
        "pooling": recipe.pooling.value,
        "max_tokens": recipe.max_tokens or _window(tokenizer, module),
        "long_texts": "windows",
        "lower_case": _lower_cases(tokenizer),
        "dtype": str(dtype).removeprefix("torch."),
        "vocabulary": _vocabulary_digest(tokenizer),
    }
    return Checkpoint(ModelInfo(recipe.name, revision, dim, settings), tokenizer, module)


def _dtype_on(device: str) -> torch.dtype:
    if not device.startswith("cuda"):
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress transformers' progress bar, and what it says of parts that are not used."""
    log = transformers.utils.logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()


def _load_tokenizer(folder: Path, recipe: Recipe, is_bert: bool) -> Any:
    kind = getattr(transformers, (BERT_CLASSES if is_bert else AUTO_CLASSES)[1])
    casing = {} if recipe.lower_case is None else {"do_lower_case": recipe.lower_case}
    try:
        return kind.from_pretrained(folder, local_files_only=True, **casing)
    except (OSError, ValueError, TypeError) as error:
        raise InputFileError(f"{folder}: the tokenizer cannot be read: {error}") from error


def _load_module(folder: Path, recipe: Recipe, is_bert: bool) -> Any:
    kind = getattr(transformers, (BERT_CLASSES if is_bert else AUTO_CLASSES)[0])
    try:
        module, report = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputFileError(f"{folder}: the weights cannot be read: {error}") from error
    # `pool` does not use the pooler, a head on the first token.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InputFileError(
            f"{folder}: {len(missing)} weights of {recipe.name} are missing, such as {missing[0]}; "
            "they would be random numbers"
        )
    return module


def _check_vocabulary(folder: Path, tokenizer: Any, module: Any, recipe: Recipe) -> None:
    n_tokens, n_rows = len(tokenizer), int(module.config.vocab_size)
    # Some checkpoints round the number of rows up; fewer rows than tokens never fit.
    if n_tokens > n_rows or (recipe.bert and n_tokens != n_rows):
        raise InputFileError(
            f"{folder}: the vocabulary has {n_tokens} tokens but the weights have {n_rows}: "
            "they belong to different models"
        )
    lower_cases = _lower_cases(tokenizer)
    if recipe.lower_case not in (None, lower_cases):
        raise InputFileError(
            f"{folder}: the tokenizer {_CASING[lower_cases]}, but {recipe.name} was trained "
            f"with one that {_CASING[not lower_cases]}; use the model's own tokenizer"
        )
    if isinstance(tokenizer, transformers.BertTokenizerFast):
        has_capitals = _has_capitals(tokenizer)
        if has_capitals == lower_cases:
            raise InputFileError(
                f"{folder}: the tokenizer {_CASING[lower_cases]}, but its vocabulary "
                f"{'has' if has_capitals else 'has no'} capitals; put the model's own vocab.txt "
                f'and {{"do_lower_case": {json.dumps(not has_capitals)}}} as '
                "tokenizer_config.json there"
            )


_CASING = {True: "lower-cases", False: "keeps case"}


def _has_capitals(tokenizer: Any) -> bool:
    # About 40 % of the words of a cased vocabulary have capitals; a lower-cased one may have a few
    # added tokens with capitals.
    words = [word for word in tokenizer.get_vocab() if not word.startswith("[")]
    return sum(any("A" <= letter <= "Z" for letter in word) for word in words) > 0.02 * len(words)


def _lower_cases(tokenizer: Any) -> bool:
    upper, lower = (
        tokenizer.backend_tokenizer.normalizer.normalize_str(text)
        if tokenizer.backend_tokenizer.normalizer
        else text
        for text in ("IL2", "il2")
    )
    return bool(upper == lower)


def _window(tokenizer: Any, module: Any) -> int:
    """Return the number of tokens that the checkpoint can read."""
    # Without a tokenizer_config.json the tokenizer's limit is 1e30. Models like RoBERTa count
    # positions from the padding token on, and so can use fewer than they state.
    positions = int(module.config.max_position_embeddings)
    if module.config.model_type in {"roberta", "xlm-roberta", "camembert", "mpnet"}:
        positions -= int(module.config.pad_token_id) + 1
    return min(positions, int(tokenizer.model_max_length))


def _vocabulary_digest(tokenizer: Any) -> str:
    vocabulary = sorted(tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()[:16]
