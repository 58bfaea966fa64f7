"""Find the folder of a model, on disk or in the cache of the Hugging Face hub."""

import re
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError

from cellkin.wire.errors import NotFoundError, UnavailableError

_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
# Not pickled weights, which are never read.
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]


def find_folder(source: str, model: str, *, allow_download: bool) -> Path:
    """Return the folder of a model.

    Parameters
    ----------
    source
        A folder, or ``ORGANIZATION/NAME`` on the hub, optionally with ``@REVISION``: a commit, tag
        or branch.
    model
        Name of the model, for error messages.
    allow_download
        Whether files that are not in the cache may be downloaded; otherwise the hub is not
        contacted.

    Raises
    ------
    NotFoundError
        If there is no such folder and the model is not in the cache.
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
                f"model {model}: {source} could not be downloaded from the hub "
                f"({type(error).__name__}); download it elsewhere and give its folder"
            ) from error
        raise NotFoundError(
            f"model {model}: {source} is not on this machine; give its folder ({model}:FOLDER), "
            "set HF_HOME to a cache that has it, or allow the download (--allow-download)"
        ) from error
