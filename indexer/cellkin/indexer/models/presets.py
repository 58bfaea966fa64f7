"""Encoders of transformers, by folder or hub name, and presets of biomedical ones.

A preset has settings that checkpoints often lack: the casing of the training texts and the
authors' pooling. Only safetensors weights are read, from this machine unless a download is
allowed. Without a revision the copy in the cache is used; the embedding records the digest of the
weights in any case.
"""

from dataclasses import dataclass
from pathlib import Path

from cellkin.indexer.models.contract import as_name
from cellkin.indexer.models.hub import find_folder
from cellkin.indexer.models.loading import load_encoder
from cellkin.indexer.models.recipe import Pooling, Recipe, Runtime
from cellkin.indexer.models.sentence_folder import read_sentence_folder
from cellkin.indexer.models.windows import WindowedModel
from cellkin.wire.errors import InvalidArgumentError


@dataclass(frozen=True)
class Preset:
    """Loader of a model of the hub with fixed settings."""

    hub_id: str
    recipe: Recipe

    def __call__(
        self,
        argument: str = "",
        *,
        allow_download: bool = False,
        runtime: Runtime | str = Runtime.AUTO,
    ) -> WindowedModel:
        """Load the model.

        Parameters
        ----------
        argument
            Folder or hub name to load the weights from, instead of the preset's.
        allow_download
            Whether weights that are not on this machine may be downloaded.
        runtime
            What computes the model.

        Raises
        ------
        NotFoundError
            If the weights are not on this machine.
        UnavailableError
            If a download failed.
        InputFileError
            If the files are not those of this model.
        """
        folder = find_folder(
            argument or self.hub_id, self.recipe.name, allow_download=allow_download
        )
        return load_encoder(folder, self.recipe, runtime)


def _bert(name: str, *, cased: bool = False, pooling: Pooling = Pooling.MEAN) -> Recipe:
    return Recipe(name, pooling, max_tokens=512, lower_case=not cased, bert=True, dim=768)


biobert = Preset("dmis-lab/biobert-v1.1", _bert("biobert", cased=True))
scibert = Preset("allenai/scibert_scivocab_uncased", _bert("scibert"))
pubmedbert = Preset(
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext", _bert("pubmedbert")
)
sapbert = Preset(
    "cambridgeltl/SapBERT-from-PubMedBERT-fulltext", _bert("sapbert", pooling=Pooling.CLS)
)
# MedCPT has one encoder for queries and one for articles; gene texts are like articles.
medcpt = Preset("ncbi/MedCPT-Article-Encoder", _bert("medcpt", pooling=Pooling.CLS))


def load_transformers(
    argument: str = "", *, allow_download: bool = False, runtime: Runtime | str = Runtime.AUTO
) -> WindowedModel:
    """Load any encoder of transformers or sentence-transformers.

    Pooling and window are those of a sentence-transformers folder, or else the mean over all tokens
    and the positions of the checkpoint.

    Parameters
    ----------
    argument
        Folder, ``ORGANIZATION/NAME`` or ``ORGANIZATION/NAME@REVISION``. The model is named after
        the last part.
    allow_download
        Whether weights that are not on this machine may be downloaded.
    runtime
        What computes the model.

    Raises
    ------
    InvalidArgumentError
        If no argument is given.
    NotFoundError
        If the weights are not on this machine.
    UnavailableError
        If a download failed.
    InputFileError
        If the files are not those of an encoder.
    """
    if not argument:
        raise InvalidArgumentError(
            "model transformers: name the encoder, as transformers:FOLDER or "
            "transformers:ORGANIZATION/NAME@REVISION"
        )
    folder = find_folder(argument, "transformers", allow_download=allow_download)
    is_folder = Path(argument).expanduser().is_dir()
    name = folder.resolve().name if is_folder else argument.partition("@")[0].rpartition("/")[2]
    return load_encoder(*read_sentence_folder(folder, Recipe(as_name(name))), runtime)
