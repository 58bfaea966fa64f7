"""Read an encoder from a folder of safetensors weights, and check that it is what it claims."""

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
from cellkin.indexer.models.encoder import Pooling, TransformerModel
from cellkin.wire.errors import InputFileError, IntegrityError, NotFoundError

_WEIGHTS = "model.safetensors"
_SHARDS = "model.safetensors.index.json"
# The automatic classes refuse a config.json without model_type.
_BERT_CLASSES = ("BertModel", "BertTokenizerFast")
_AUTO_CLASSES = ("AutoModel", "AutoTokenizer")


@dataclass(frozen=True)
class Recipe:
    """How the vectors of a checkpoint are to be made.

    Parameters
    ----------
    name
        Name of the model, as versions are named.
    pooling
        How token states become one vector.
    max_tokens
        Tokens of a window; None takes what the checkpoint states.
    lower_case
        Whether text is lower-cased; None takes what the checkpoint states.
    bert
        Whether the checkpoint is a BERT whatever its files say: early ones do not name their
        architecture, and those without a tokenizer_config.json would be lower-cased wrongly.
    dim
        Width of a vector, checked; None takes what the checkpoint states.
    weights_sha256
        Digest the weight file must have; None takes any.
    """

    name: str
    pooling: Pooling = Pooling.MEAN
    max_tokens: int | None = None
    lower_case: bool | None = None
    bert: bool = False
    dim: int | None = None
    weights_sha256: str | None = None


def load_folder(folder: Path, recipe: Recipe, device: str | None = None) -> TransformerModel:
    """Load an encoder from a folder, reading nothing else.

    Parameters
    ----------
    folder
        Folder with ``config.json``, ``model.safetensors`` and the files of the tokenizer.
    recipe
        How the vectors are to be made.
    device
        Where torch computes; None takes CUDA where there is a device, else the CPU. Numbers are
        float32 on the CPU, bfloat16 (or float16, where that is all the device has) on CUDA.

    Raises
    ------
    NotFoundError
        If there is no such folder.
    InputFileError
        If a file is missing or unreadable, or weights, vocabulary and casing do not agree.
    IntegrityError
        If the weights do not have the digest they should have.
    """
    config = _read_config(folder)
    is_bert = recipe.bert or config.get("model_type", "bert") == "bert"
    revision = _check_weights(folder, recipe, is_bert)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = _dtype_on(device)
    with _quiet():
        tokenizer = _load_tokenizer(folder, recipe, is_bert)
        module = _load_module(folder, recipe, is_bert).to(device=device, dtype=dtype).eval()
    _check_vocabulary(folder, tokenizer, module, recipe)
    dim = int(module.config.hidden_size)
    if recipe.dim not in (None, dim):
        raise InputFileError(
            f"{folder}: vectors of {recipe.name} have {recipe.dim} dimensions, "
            f"this checkpoint's have {dim}: it is another model"
        )
    max_tokens = recipe.max_tokens or _window(tokenizer, module)
    settings: dict[str, Setting] = {
        "pooling": recipe.pooling.value,
        "max_tokens": max_tokens,
        "long_texts": "windows",
        "lower_case": _lower_cases(tokenizer),
        "dtype": str(dtype).removeprefix("torch."),
        "vocabulary": _vocabulary_digest(tokenizer),
    }
    info = ModelInfo(recipe.name, revision, dim, settings)
    return TransformerModel(
        info, tokenizer, module, recipe.pooling, max_tokens, batched=device != "cpu"
    )


def _read_config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: there is no such folder with a language model")
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    except FileNotFoundError as error:
        raise InputFileError(
            f"{folder}: config.json is missing; a model folder has config.json, {_WEIGHTS} "
            "and the files of its tokenizer"
        ) from error
    except ValueError as error:
        raise InputFileError(f"{folder}/config.json: not JSON: {error}") from error
    return config


def _check_weights(folder: Path, recipe: Recipe, is_bert: bool) -> str:
    """Return what pins the weights: the digest of their file, or of their shards' digests."""
    if (folder / _WEIGHTS).is_file():
        digest = _sha256(folder / _WEIGHTS)
    elif (folder / _SHARDS).is_file():
        index = json.loads((folder / _SHARDS).read_bytes())
        shards = sorted(set(index["weight_map"].values()))
        digest = hashlib.sha256("".join(_sha256(folder / s) for s in shards).encode()).hexdigest()
    else:
        raise InputFileError(_no_weights(folder, recipe, is_bert))
    if recipe.weights_sha256 not in (None, digest):
        raise IntegrityError(
            f"{folder / _WEIGHTS}: the SHA-256 is {digest}, that of {recipe.name} is "
            f"{recipe.weights_sha256}: the file is damaged or is another model; install it anew"
        )
    return f"sha256:{digest}"


def _no_weights(folder: Path, recipe: Recipe, is_bert: bool) -> str:
    model, tokenizer = _BERT_CLASSES if is_bert else _AUTO_CLASSES
    casing = "" if recipe.lower_case is None else f", do_lower_case={recipe.lower_case}"
    return (
        f"{folder}: {_WEIGHTS} is missing. Pickled weights (pytorch_model.bin) are not read, for a "
        "pickle can run any program; where you trust them, convert them once and give the folder "
        f'NEW: python -c "from transformers import {model} as M, {tokenizer} as T; '
        f"M.from_pretrained('OLD').save_pretrained('NEW'); "
        f"T.from_pretrained('OLD'{casing}).save_pretrained('NEW')\""
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _dtype_on(device: str) -> torch.dtype:
    if not device.startswith("cuda"):
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing a bar and listing the heads that are not loaded."""
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
    kind = getattr(transformers, (_BERT_CLASSES if is_bert else _AUTO_CLASSES)[1])
    casing = {} if recipe.lower_case is None else {"do_lower_case": recipe.lower_case}
    try:
        return kind.from_pretrained(folder, local_files_only=True, **casing)
    except (OSError, ValueError, TypeError) as error:
        raise InputFileError(f"{folder}: the tokenizer cannot be read: {error}") from error


def _load_module(folder: Path, recipe: Recipe, is_bert: bool) -> Any:
    kind = getattr(transformers, (_BERT_CLASSES if is_bert else _AUTO_CLASSES)[0])
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
    # The pooler is a head over the first token that no pooling of ours uses.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InputFileError(
            f"{folder}: {len(missing)} weights of {recipe.name} are missing, such as {missing[0]}; "
            "they would be random numbers"
        )
    return module


def _check_vocabulary(folder: Path, tokenizer: Any, module: Any, recipe: Recipe) -> None:
    n_tokens, n_rows = len(tokenizer), int(module.config.vocab_size)
    # Some checkpoints round the rows up; fewer rows than tokens is another model's vocabulary.
    if n_tokens > n_rows or (recipe.bert and n_tokens != n_rows):
        raise InputFileError(
            f"{folder}: the vocabulary has {n_tokens} tokens but the weights have {n_rows}: "
            "they belong to different models"
        )
    lower_cases = _lower_cases(tokenizer)
    if recipe.lower_case not in (None, lower_cases):
        raise InputFileError(
            f"{folder}: the tokenizer {_CASING[lower_cases]}, but {recipe.name} was trained "
            f"with one that {_CASING[not lower_cases]}; give the model's own tokenizer"
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
    # About 4 of 10 words of a cased vocabulary have a capital; a lower-cased one may have a few
    # added tokens that do.
    words = [word for word in tokenizer.get_vocab() if not word.startswith("[")]
    return sum(any("A" <= sign <= "Z" for sign in word) for word in words) > 0.02 * len(words)


def _lower_cases(tokenizer: Any) -> bool:
    upper, lower = (
        tokenizer.backend_tokenizer.normalizer.normalize_str(text)
        if tokenizer.backend_tokenizer.normalizer
        else text
        for text in ("IL2", "il2")
    )
    return bool(upper == lower)


def _window(tokenizer: Any, module: Any) -> int:
    """Return the tokens of a window as the checkpoint states them."""
    # Without a tokenizer_config.json the tokenizer states 1e30. RoBERTa's kin number their
    # positions from behind the padding token, and so have as many fewer than they state.
    positions = int(module.config.max_position_embeddings)
    if module.config.model_type in {"roberta", "xlm-roberta", "camembert", "mpnet"}:
        positions -= int(module.config.pad_token_id) + 1
    return min(positions, int(tokenizer.model_max_length))


def _vocabulary_digest(tokenizer: Any) -> str:
    vocabulary = sorted(tokenizer.get_vocab().items())
    return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()[:16]
