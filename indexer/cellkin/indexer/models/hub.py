"""Find the folder of a model: a folder on disk, or what the cache of the Hugging Face hub holds."""

import re
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError

from cellkin.wire.errors import NotFoundError, UnavailableError

_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
# Not the pickled weights: they would not be read.
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]


def find_folder(source: str, model: str, *, allow_download: bool) -> Path:
    """Return the folder that holds a model.

    Parameters
    ----------
    source
        A folder, or ``ORGANIZATION/NAME`` on the hub, with ``@REVISION`` where it is to be a
        certain commit, tag or branch.
    model
        Name of the model, for the error.
    allow_download
        Whether files that are not in the cache may be fetched; otherwise the hub is not asked.

    Raises
    ------
    NotFoundError
        If there is no such folder, and the cache does not hold the model.
    UnavailableError
        If the download failed.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    match = _HUB_ID.fullmatch(source)
    if match is None:
        raise NotFoundError(
            f"model {model}: {source!r} is neither a folder nor a name on the hub, "
            "ORGANIZATION/NAME or ORGANIZATION/NAME@REVISION"
        )
    try:
        return Path(
            huggingface_hub.snapshot_download(
                match[1],
                revision=match[2],
                allow_patterns=_FILES,
                local_files_only=not allow_download,
            )
        )
    except (OSError, HfHubHTTPError) as error:
        if allow_download:
            raise UnavailableError(
                f"model {model}: {source} could not be fetched from the hub "
                f"({type(error).__name__}); fetch it elsewhere and give its folder"
            ) from error
        raise NotFoundError(
            f"model {model}: {source} is not on this machine; give its folder ({model}:FOLDER), "
            "set HF_HOME to the cache that holds it, or allow the download (--allow-download)"
        ) from error
