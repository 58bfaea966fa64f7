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
from cellkin.indexer.models.encoder import Pooling, TransformerModel
from cellkin.wire.errors import InputFileError, IntegrityError, NotFoundError

_WEIGHTS = "model.safetensors"
_SHARDS = "model.safetensors.index.json"
# The automatic classes refuse a config.json without model_type.
_BERT_CLASSES = ("BertModel", "BertTokenizerFast")
_AUTO_CLASSES = ("AutoModel", "AutoTokenizer")


@dataclass(frozen=True)
class Recipe:
    """Settings for embedding with a checkpoint.

    Parameters
    ----------
    name
        Name of the model, valid as that of a version.
    pooling
        How token states become one vector.
    max_tokens
        Tokens of a window; None for the checkpoint's.
    lower_case
        Whether text is lower-cased; None for the checkpoint's.
    bert
        Whether to load the checkpoint as a BERT regardless of its files: early ones do not name
        their architecture, and without a tokenizer_config.json the casing would be wrong.
    dim
        Expected width of a vector; None accepts any.
    weights_sha256
        Expected digest of the weight file; None accepts any.
    """

    name: str
    pooling: Pooling = Pooling.MEAN
    max_tokens: int | None = None
    lower_case: bool | None = None
    bert: bool = False
    dim: int | None = None
    weights_sha256: str | None = None


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
            f"{folder}: vectors of {recipe.name} have {recipe.dim} dimensions, those of this "
            f"checkpoint {dim}: it is another model"
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


def _check_weights(folder: Path, recipe: Recipe, is_bert: bool) -> str:
    """Return the digest of the weight file, or that of the shards' digests, after checking it."""
    weights = folder / _WEIGHTS
    if weights.is_file():
        digest = _sha256(weights)
    elif (folder / _SHARDS).is_file():
        weights = folder / _SHARDS
        shards = _shards(weights)
        digest = hashlib.sha256("".join(map(_sha256, shards)).encode()).hexdigest()
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
    model, tokenizer = _BERT_CLASSES if is_bert else _AUTO_CLASSES
    casing = "" if recipe.lower_case is None else f", do_lower_case={recipe.lower_case}"
    return (
        f"{folder}: {_WEIGHTS} is missing. Pickled weights (pytorch_model.bin) are not read: a "
        "pickle can run any code. If you trust them, convert them once and give the folder NEW: "
        f'python -c "from transformers import {model} as M, {tokenizer} as T; '
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
    """Suppress transformers' progress bar and its list of heads that are not loaded."""
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
