"""Encoders converted for OpenVINO, each once, in a cache that is checked when it is read."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cellkin.indexer.models.contract import ModelInfo
from cellkin.indexer.models.openvino_import import openvino
from cellkin.indexer.models.recipe import Recipe
from cellkin.indexer.models.weights import check_weights, read_config, says_bert
from cellkin.store.checked import cache_folder
from cellkin.store.digest import file_digest

_FORMAT = 1
_MODEL, _WEIGHTS, _TOKENIZER, _RECORD = "model.xml", "model.bin", "tokenizer.json", "record.json"
_log = logging.getLogger("cellkin.indexer")


@dataclass(frozen=True)
class Converted:
    """An encoder in OpenVINO's form.

    Parameters
    ----------
    model, tokenizer
        Files of OpenVINO and of tokenizers.
    info
        Identity of the vectors that torch computes of the same checkpoint.
    """

    model: Path
    tokenizer: Path
    info: ModelInfo


@contextmanager
def converted(folder: Path, recipe: Recipe, cache: Path | None = None) -> Iterator[Converted]:
    """Convert an encoder, or find it in the cache.

    Parameters
    ----------
    folder, recipe
        See `cellkin.indexer.models.checkpoint.load_folder`, as for the errors.
    cache
        Folder of converted encoders; None for ``~/.cache/cellkin/encoders``. If it cannot be
        written, the files last as long as the block.
    """
    cache = cache or cache_folder() / "encoders"
    place = cache / f"{recipe.name}-{key(folder, recipe)}"
    if (kept := _read(place)) is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="cellkin-", dir=_made(cache)) as made:
        new = Path(made) / "encoder"
        yield _kept(_convert(folder, recipe, new), new, place)


def _made(cache: Path) -> Path | None:
    """Return the cache after making it, None if it cannot be written."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return cache if os.access(cache, os.W_OK) else None


def _kept(encoder: Converted, new: Path, place: Path) -> Converted:
    """Move a converted encoder to its place in the cache, and return where it is now."""
    try:
        shutil.rmtree(place, ignore_errors=True)  # it was damaged, or _read had found it
        new.rename(place)
    except OSError as error:
        _log.warning("converted encoder not kept: %s", error)
        return encoder
    return _located(place, encoder.info)


def key(folder: Path, recipe: Recipe) -> str:
    """Return a digest of all that a conversion depends on, after checking the weights."""
    is_bert = says_bert(read_config(folder), recipe)
    small = sorted([*folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("*.model")])
    parts = {
        "format": _FORMAT,
        "weights": check_weights(folder, recipe, is_bert),
        "files": {file.name: file_digest(file) for file in small},
        "recipe": asdict(recipe),
        "packages": {name: version(name) for name in ("openvino", "torch", "transformers")},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _located(place: Path, info: ModelInfo) -> Converted:
    return Converted(place / _MODEL, place / _TOKENIZER, info)


def _read(place: Path) -> Converted | None:
    """Return the encoder of a folder; None if there is none, or it is damaged."""
    try:
        record: dict[str, Any] = json.loads((place / _RECORD).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        record = {}
    files = record.get("files", {})
    if not files or any(
        not (place / n).is_file() or file_digest(place / n) != d for n, d in files.items()
    ):
        _log.warning("converted encoder damaged, so made again: %s", place)
        return None
    return _located(place, ModelInfo(**record["info"]))


def _convert(folder: Path, recipe: Recipe, place: Path) -> Converted:
    """Convert a checkpoint into a new folder."""
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from cellkin.indexer.models.checkpoint import quiet, read_checkpoint

    class States(torch.nn.Module):
        """The states of the tokens, the only one of an encoder's answers that is used."""

        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module = module

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return self.module(input_ids, attention_mask).last_hidden_state

    checkpoint = read_checkpoint(folder, recipe, "cpu")
    example = {
        name: torch.ones(2, 8, dtype=torch.int64) for name in ("input_ids", "attention_mask")
    }
    frontend = FrontEndManager().load_by_framework("pytorch")
    with quiet(), warnings.catch_warnings():
        # Of values that tracing takes for constants; none of them depends on the input's shape.
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(
            States(checkpoint.module), example_input=example, trace_kwargs={"check_trace": False}
        )  # without the check, which would trace it once more
        model = frontend.convert(frontend.load(decoder))
    place.mkdir()
    openvino.save_model(model, place / _MODEL, compress_to_fp16=False)
    (place / _TOKENIZER).write_text(checkpoint.tokenizer.backend_tokenizer.to_str(), "utf-8")
    names = (_MODEL, _WEIGHTS, _TOKENIZER)
    record = {
        "files": {name: file_digest(place / name) for name in names},
        "info": asdict(checkpoint.info),
    }
    (place / _RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    return _located(place, checkpoint.info)
