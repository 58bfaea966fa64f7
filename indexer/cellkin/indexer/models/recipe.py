"""Settings by which a checkpoint embeds texts, and the runtimes that can compute it."""

from dataclasses import dataclass
from enum import StrEnum


class Pooling(StrEnum):
    """How the token states of a window become one vector."""

    MEAN = "mean"
    """Mean over all tokens."""
    CLS = "cls"
    """The first token."""
    LAST = "last"
    """The last token."""
    MAX = "max"
    """Maximum of each dimension over all tokens."""


class Runtime(StrEnum):
    """The library that computes an encoder."""

    AUTO = "auto"
    """OpenVINO if it is installed and fits the encoder, else torch."""
    TORCH = "torch"
    """torch: float32 on a CPU, bfloat16 or float16 on CUDA."""
    OPENVINO = "openvino"
    """OpenVINO on the CPU: bfloat16 where the CPU has instructions for it, else float32."""


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
