"""Tiny BERT checkpoints with a WordPiece vocabulary learned from the texts of the tests."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tests.contract.embedding_model import TEXTS
from tests.unit.indexer.models.openai_server import FakeOpenAI
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertModel

from cellkin.indexer.models import openai_client
from cellkin.indexer.models.checkpoint import load_folder
from cellkin.indexer.models.encoder import TransformerModel
from cellkin.indexer.models.recipe import Recipe

TINY = Recipe("tiny", lower_case=True, bert=True, dim=64)


@pytest.fixture(scope="session")
def vocabularies(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, list[str]]:
    """The words of a cased (True) and of a lower-cased (False) vocabulary."""
    words = {}
    for cased in (True, False):
        trainer = BertWordPieceTokenizer(lowercase=not cased, strip_accents=not cased)
        trainer.train_from_iterator([*TEXTS, "Abnormality RHO"], 300, 1, show_progress=False)
        ids = trainer.get_vocab()
        words[cased] = sorted(ids, key=ids.__getitem__)
    return words


@pytest.fixture(scope="session")
def make_checkpoint(
    vocabularies: dict[bool, list[str]],
) -> Callable[..., Path]:
    """Write a checkpoint with random weights, of a fixed seed, to a folder."""

    def make(folder: Path, *, cased: bool = False, seed: int = 0) -> Path:
        folder.mkdir(parents=True)
        words = vocabularies[cased]
        config = BertConfig(
            vocab_size=len(words),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=128,
            max_position_embeddings=64,
            # As trained models have it, and not all but equal: a wrong bias must show.
            initializer_range=0.2,
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = BertModel(config, add_pooling_layer=True)
            for name, weight in module.named_parameters():
                if "bias" in name or "LayerNorm" in name:
                    torch.nn.init.normal_(weight, float(name.endswith("Norm.weight")), 0.1)
        state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
        safetensors.torch.save_file(state, folder / "model.safetensors", {"format": "pt"})
        config.save_pretrained(folder)
        (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": not cased}))
        return folder

    return make


@pytest.fixture(scope="session")
def checkpoint(
    make_checkpoint: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A tiny lower-cased checkpoint; not to be changed."""
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def tiny(checkpoint: Path) -> TransformerModel:
    """The checkpoint, loaded; windows of 64 tokens."""
    return load_folder(checkpoint, replace(TINY, max_tokens=64), "cpu")


@pytest.fixture
def n_threads() -> Iterator[int]:
    """Three threads for torch, whatever the machine; set back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


@pytest.fixture
def no_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of OpenAI and of proxies from the environment."""
    for name in os.environ:
        if name.startswith(("OPENAI_", "AZURE_OPENAI_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def server(no_openai: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOpenAI]:
    """A server on loopback; back-off takes milliseconds."""
    monkeypatch.setattr(openai_client, "_FIRST_BACKOFF_S", 0.001)
    with FakeOpenAI() as running:
        yield running
