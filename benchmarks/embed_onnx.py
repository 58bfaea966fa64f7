"""The default embedding model in ONNX Runtime, as benchmarks/embed.py measures it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from report import installed_version
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from cellkin.space.arrays import Float32Matrix

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_CACHE = Path(__file__).resolve().parents[1] / ".cache/onnx"
_BATCH = 32


class _Pooled(nn.Module):
    """The model with the mean over tokens and the normalization behind it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the vectors (n, dim) of rows of tokens."""
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=1)


def load_onnx(folder: Path, threads: int) -> Callable[[list[str]], Float32Matrix]:
    """Return a function that embeds texts by ONNX Runtime in float32.

    The graph is exported by torch the first time, which takes about twenty seconds, and kept.
    """
    import onnxruntime

    of = "-".join(installed_version(name) for name in ("torch", "transformers", *PACKAGES))
    path = _CACHE / f"{of}.onnx"
    if not path.exists():
        _export(folder, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    tokenizer = AutoTokenizer.from_pretrained(str(folder))

    def embed(texts: list[str]) -> Float32Matrix:
        # Texts of a length together, as sentence-transformers does, or padding is what is embedded.
        order = np.argsort([-len(text) for text in texts], kind="stable")
        vectors: list[Float32Matrix] = []
        for start in range(0, len(order), _BATCH):
            batch = [texts[i] for i in order[start : start + _BATCH]]
            tokens = tokenizer(batch, padding=True, truncation=True, return_tensors="np")
            given = {"ids": tokens["input_ids"], "mask": tokens["attention_mask"]}
            vectors += session.run(None, given)
        found = np.empty_like(np.concatenate(vectors))
        found[order] = np.concatenate(vectors)
        return found

    return embed


def _export(folder: Path, path: Path) -> None:
    model = _Pooled(AutoModel.from_pretrained(str(folder))).eval()
    ids, mask = torch.ones((2, 2, 16), dtype=torch.int64)
    # Lengths of an example of one row or token would be taken for constants.
    rows, length = torch.export.Dim("rows", min=1), torch.export.Dim("length", min=2, max=512)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_suffix(".part")
    torch.onnx.export(
        model, (ids, mask), made, input_names=["ids", "mask"], output_names=["vectors"],
        dynamic_shapes={name: {0: rows, 1: length} for name in ("ids", "mask")},
        external_data=False, verbose=False,
    )  # fmt: skip
    made.rename(path)
