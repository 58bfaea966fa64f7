"""Download of one file over HTTP, resumed where an earlier run was interrupted.

obstore sends the requests; it follows redirects and uses the proxies of the environment. Beside a
file ``F`` lies its record ``F.json``. During a download ``F.part`` holds the bytes so far and
``F.part.json`` what the server says about the file they belong to; the download continues if the
server still says the same.

obstore reads only responses with a Content-Length (apache/arrow-rs-object-store#340). Its own
retries are off, because Ctrl-C has no effect while it waits.
"""

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeAlias

import obstore
from obstore.exceptions import BaseError, NotModifiedError
from obstore.store import HTTPStore

from cellkin.wire.errors import (
    CellkinError,
    FailedPreconditionError,
    IntegrityError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the name of the file, its bytes so far and its size."""

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts that get no further; after the last one the download fails."""
# obstore drops a chunk that an interruption leaves incomplete.
_CHUNK_BYTES = 1 << 16
_CLIENT: Any = {
    "allow_http": True,
    "user_agent": "cellkin",
    "connect_timeout": "20s",
    "read_timeout": "20s",
    "timeout": "7days",  # of the whole response
}
_STATUS = re.compile(r"status code: (\d+ [^:\n]*)")
_log = logging.getLogger("cellkin.indexer")
_CAUSE = re.compile(r'(?:message|error): "([^"]+)"')


@dataclass(frozen=True)
class DownloadRecord:
    """Origin and digest of a downloaded file.

    Attributes
    ----------
    url
        Where it came from.
    etag, last_modified
        As the server said; "" if it did not.
    n_bytes
        Size.
    sha256
        Of the whole file, hexadecimal; "" during the download.
    """

    url: str
    etag: str
    last_modified: str
    n_bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class Download:
    """A requested file that is present.

    Attributes
    ----------
    path
        Where it is.
    record
        Its origin and digest.
    changed
        Whether its content is new; False if it was present before.
    """

    path: Path
    record: DownloadRecord
    changed: bool


def download(url: str, path: Path, *, progress: Progress | None = None) -> Download:
    """Download a file, continuing a download that an earlier run left unfinished.

    A file that is present and unchanged on the server is not downloaded again.

    Parameters
    ----------
    url
        An http or https URL.
    path
        Where the file goes; it appears there when it is complete.
    progress
        Called after every chunk.

    Raises
    ------
    InvalidArgumentError
        If the URL is not valid.
    NotFoundError
        If the server has no such file.
    PermissionDeniedError
        If the server refuses access.
    FailedPreconditionError
        If the server does not state the size of the file.
    UnavailableError
        If the server cannot be reached, is overloaded, or cuts the connection repeatedly.
    IntegrityError
        If more was written than the file has, as when two processes download it.
    """
    store = None
    with suppress(ValueError):
        # obstore does not send a user and password in a URL.
        if re.match(r"https?://[^/?#@]+([/?]|$)", url):
            store = HTTPStore(url, client_options=_CLIENT, retry_config={"max_retries": 0})
    if store is None:
        raise InvalidArgumentError(
            f"source {re.sub('//.*@', '//', url)}: expected a path, or an http or https URL "
            "without a user and password"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    pauses_s = iter(PAUSES_S)
    while True:
        n_before = _size(part)
        try:
            return _attempt(store, url, path, part, progress)
        except UnavailableError as error:
            if _size(part) > n_before:
                pauses_s = iter(PAUSES_S)
            pause_s = next(pauses_s, None)
            if pause_s is None:
                raise
            _log.warning("download interrupted: %s", error.message)
            time.sleep(pause_s)


def read_record(path: Path) -> DownloadRecord | None:
    """Return the record beside a file, None if there is none."""
    try:
        record = json.loads(_record_path(path).read_text("utf-8"))
        return DownloadRecord(**{each.name: record[each.name] for each in fields(DownloadRecord)})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _attempt(
    store: HTTPStore, url: str, path: Path, part: Path, progress: Progress | None
) -> Download:
    previous = read_record(path)
    if previous and (
        previous.url != url or _size(path) < 0 or file_sha256(path) != previous.sha256
    ):
        previous = None
    try:
        response = _rest(store, url, part) or obstore.get(store, "", options=_if_changed(previous))
        record = _record_of(url, response.meta)
        done = response.range[0]
        with part.open("ab" if done else "wb") as file:
            _write_record(part, record)
            for chunk in response.stream(_CHUNK_BYTES):
                done += file.write(chunk)
                if progress:
                    progress(path.name, done, record.n_bytes)
            file.flush()
            os.fsync(file.fileno())
    except NotModifiedError as error:
        if previous is None:
            raise _failure(url, error) from error
        return Download(path, previous, changed=False)
    except (BaseError, FileNotFoundError) as error:
        raise _failure(url, error) from error
    if _size(part) != record.n_bytes:
        _record_path(part).unlink()
        raise IntegrityError(
            f"{url}: {_size(part)} bytes were written of a file of {record.n_bytes}; if another "
            "process downloads it, run again afterwards"
        )
    record = replace(record, sha256=file_sha256(part))
    part.replace(path)
    _write_record(path, record)
    _record_path(part).unlink()
    return Download(path, record, previous is None or previous.sha256 != record.sha256)


def _rest(store: HTTPStore, url: str, part: Path) -> Any:
    """Request the rest of an unfinished download; None if it cannot be continued."""
    record = read_record(part)
    if record is None or record.url != url or not 0 < _size(part) < record.n_bytes:
        return None
    options: Any = {"range": {"offset": _size(part)}}
    # Weak ETags, and files without a validator, do not say that the bytes are the same.
    if record.etag and not record.etag.startswith("W/"):
        options["if_match"] = record.etag
    elif record.last_modified:
        options["if_unmodified_since"] = parsedate_to_datetime(record.last_modified)
    else:
        return None
    with suppress(BaseError, FileNotFoundError):
        response = obstore.get(store, "", options=options)
        # Servers may ignore the condition.
        return response if _record_of(url, response.meta) == record else None
    return None


def _if_changed(previous: DownloadRecord | None) -> Any:
    """Return the condition under which a file is requested."""
    if previous and previous.etag:
        return {"if_none_match": previous.etag}
    if previous and previous.last_modified:
        return {"if_modified_since": parsedate_to_datetime(previous.last_modified)}
    return {}


def _record_of(url: str, meta: Mapping[str, Any]) -> DownloadRecord:
    modified: datetime = meta["last_modified"]
    # obstore has the start of 1970 for files without a date.
    date = format_datetime(modified, usegmt=True) if modified.timestamp() else ""
    return DownloadRecord(url, meta["e_tag"] or "", date, meta["size"])


def _failure(url: str, error: Exception) -> CellkinError:
    """Return the error for one of obstore, whose text alone has the status and the cause."""
    text = str(error)
    if status := _STATUS.search(text):
        answer = f"{url}: the server answers {status[1]}; check the address"
        if status[1].startswith(("404", "410")):
            return NotFoundError(answer)
        if status[1].startswith(("401", "403")):
            return PermissionDeniedError(f"{answer}, and whether access is allowed")
        return UnavailableError(f"{answer}, or try again later")
    if "Content-Length" in text:
        return FailedPreconditionError(
            f"{url}: the server does not state the size of the file; download it by other means "
            "and give its path"
        )
    causes = _CAUSE.findall(text) or [text.partition("\n")[0].rpartition(": ")[2]]
    return UnavailableError(
        f"{url}: {causes[-1]}; check the address and the connection, or try again later: what has "
        "arrived is kept"
    )


def _size(path: Path) -> int:
    """Return the size of a file, -1 if there is none."""
    return path.stat().st_size if path.is_file() else -1


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _write_record(path: Path, record: DownloadRecord) -> None:
    _record_path(path).write_text(json.dumps(asdict(record), indent=1) + "\n", "utf-8")
