"""Download of one file: resumable, checked, and with a record of what the server said.

Beside a file ``F`` lies its record ``F.json``. While it is under way there are ``F.part``, the
bytes so far, and ``F.part.json``, the state of the file on the server that they belong to: where
that has changed the download starts anew.
"""

import base64
import hashlib
import http.client
import json
import logging
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from email.message import Message
from http import HTTPStatus
from pathlib import Path
from typing import TypeAlias

from cellkin.wire.errors import (
    CellkinError,
    IntegrityError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Told the file's name, the bytes there are and those there will be, None where that is unknown."""

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts that get no further; after the last the download is given up."""
_LONGEST_PAUSE_S = 300.0
_TIMEOUT_S = 60.0
_CHUNK_BYTES = 1 << 20
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

_log = logging.getLogger("cellkin.indexer")


@dataclass(frozen=True)
class DownloadRecord:
    """What is known of a downloaded file.

    Attributes
    ----------
    url
        Where it came from.
    etag, last_modified, content_md5
        As the server said; "" where it did not. The MD5, base64, was compared.
    n_bytes
        Size; -1 while it is unknown.
    sha256
        Of the whole file, hexadecimal; "" while it is under way.
    """

    url: str
    etag: str
    last_modified: str
    content_md5: str
    n_bytes: int
    sha256: str = ""

    @property
    def validator(self) -> str:
        """What shows that the file is the same to the byte; "" where nothing does."""
        return self.last_modified if self.etag.startswith("W/") else self.etag or self.last_modified


@dataclass(frozen=True)
class Download:
    """A file that was asked for and is there.

    Attributes
    ----------
    path
        Where it is.
    record
        What is known of it.
    changed
        False where it was there before and the server has no other.
    """

    path: Path
    record: DownloadRecord
    changed: bool


def download(
    url: str,
    path: Path,
    *,
    pauses_s: Sequence[float] = PAUSES_S,
    progress: Progress | None = None,
) -> Download:
    """Download a file, going on where an attempt of this run or an earlier one was cut.

    A file that is there and unchanged on the server is left as it is.

    Parameters
    ----------
    url
        An http or https URL.
    path
        Where the file goes; it is put there in one step when all of it has come.
    pauses_s
        Seconds between attempts that get no further than those before them.
    progress
        Called for every piece that arrives.

    Raises
    ------
    InvalidArgumentError
        If it is no such URL.
    NotFoundError
        If the server has no such file.
    UnavailableError
        If the server cannot be reached, refuses, or cuts the connection again and again.
    IntegrityError
        If the bytes have another MD5 than the server said.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InvalidArgumentError(f"source {url}: expected a path, or an http or https URL")
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = _Attempt(url, path, progress)
    pauses = iter(pauses_s)
    furthest = 0
    while True:
        try:
            return attempt.run()
        except _TryAgainError as failure:
            reached = attempt.n_bytes()
            if reached > furthest:
                furthest, pauses = reached, iter(pauses_s)
            pause_s = next(pauses, None)
            if pause_s is None:
                raise failure.error from None
            _log.warning("download interrupted: %s", failure.error.message)
            time.sleep(min(max(pause_s, failure.pause_s), _LONGEST_PAUSE_S))


def read_record(path: Path) -> DownloadRecord | None:
    """Return the record beside a file, None where there is none."""
    try:
        return DownloadRecord(**json.loads(_record_path(path).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _TryAgainError(Exception):
    """An attempt failed in a way the next may not; ``error`` is raised where none does better."""

    def __init__(self, error: CellkinError, pause_s: float = 0.0) -> None:
        super().__init__(error.message)
        self.error = error
        self.pause_s = pause_s


class _Attempt:
    """A try at a download; each one goes on from what the one before left."""

    def __init__(self, url: str, path: Path, progress: Progress | None) -> None:
        self._url = url
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._progress = progress

    def n_bytes(self) -> int:
        """Return how much of the file has come."""
        return self._part.stat().st_size if self._part.exists() else 0

    def run(self) -> Download:
        """Ask for what is missing and put the file in its place."""
        had = self._intact()
        begun = read_record(self._part)
        if begun and (begun.url != self._url or not begun.validator or not self.n_bytes()):
            begun = None
        try:
            with self._open(had, begun) as response:
                begun = self._accept(response, begun)
                self._receive(response, begun.n_bytes)
        except urllib.error.HTTPError as answer:
            answer.close()
            if answer.code == HTTPStatus.NOT_MODIFIED and had:
                return Download(self._path, had, changed=False)
            raise self._refusal(answer) from None
        self._check(begun)
        return self._finish(begun, had)

    def _intact(self) -> DownloadRecord | None:
        """Return the record of the file that is there, if it is as the record says."""
        record = read_record(self._path)
        if record is None or record.url != self._url or not self._path.is_file():
            return None
        return record if file_sha256(self._path) == record.sha256 else None

    def _open(
        self, had: DownloadRecord | None, begun: DownloadRecord | None
    ) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._url, headers={"User-Agent": "cellkin"})
        if begun:
            request.add_header("Range", f"bytes={self.n_bytes()}-")
            request.add_header("If-Range", begun.validator)
        elif had and had.etag:
            request.add_header("If-None-Match", had.etag)
        elif had and had.last_modified:
            request.add_header("If-Modified-Since", had.last_modified)
        try:
            response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError:
            raise
        except http.client.InvalidURL as error:
            raise InvalidArgumentError(f"source {self._url}: {error}; check the address") from None
        except (OSError, http.client.HTTPException) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            unreachable = UnavailableError(
                f"{self._url}: the server cannot be reached ({cause}); "
                "check the address and the connection"
            )
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise unreachable from None
            raise _TryAgainError(unreachable) from None
        return response

    def _accept(
        self, response: http.client.HTTPResponse, begun: DownloadRecord | None
    ) -> DownloadRecord:
        """Decide from the answer whether to go on or to start anew."""
        found = _record_of(self._url, response.headers)
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            given = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            fits = given is not None and int(given[1]) == self.n_bytes()
            # The second: a server that overlooks If-Range sends the rest of another file.
            if begun and fits and found.validator in ("", begun.validator):
                return begun
            self._discard()
            raise _TryAgainError(
                UnavailableError(f"{self._url}: the server sends another part than was asked for")
            )
        self._part.write_bytes(b"")
        _write_record(self._part, found)
        return found

    def _receive(self, response: http.client.HTTPResponse, n_bytes: int) -> None:
        total = n_bytes if n_bytes >= 0 else None
        done = self.n_bytes()
        with self._part.open("ab") as file:
            while chunk := self._read(response, done):
                file.write(chunk)
                done += len(chunk)
                if self._progress:
                    self._progress(self._path.name, done, total)
            file.flush()
            os.fsync(file.fileno())

    def _read(self, response: http.client.HTTPResponse, done: int) -> bytes:
        try:
            # read() would lose what came before a cut.
            return response.read1(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _TryAgainError(
                UnavailableError(
                    f"{self._url}: the connection was cut after {done} bytes ({error})"
                )
            ) from None

    def _check(self, begun: DownloadRecord) -> None:
        """Make sure that all of the file, and nothing else, has come."""
        done = self.n_bytes()
        if begun.n_bytes >= 0 and done != begun.n_bytes:
            raise _TryAgainError(
                UnavailableError(
                    f"{self._url}: the connection was cut after {done} of {begun.n_bytes} bytes"
                )
            )
        if begun.content_md5:
            with self._part.open("rb") as file:
                md5 = base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()
            if md5 != begun.content_md5:
                self._discard()
                raise _TryAgainError(
                    IntegrityError(
                        f"{self._url}: the bytes have the MD5 {md5}, "
                        f"the server said {begun.content_md5}; try again later"
                    )
                )

    def _finish(self, begun: DownloadRecord, had: DownloadRecord | None) -> Download:
        record = replace(begun, n_bytes=self.n_bytes(), sha256=file_sha256(self._part))
        self._part.replace(self._path)
        _write_record(self._path, record)
        _record_path(self._part).unlink()
        return Download(self._path, record, had is None or had.sha256 != record.sha256)

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        _record_path(self._part).unlink(missing_ok=True)

    def _refusal(self, answer: urllib.error.HTTPError) -> Exception:
        said = f"{self._url}: the server answers {answer.code} {answer.reason}"
        if answer.code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            return NotFoundError(f"{said}; check the address")
        if answer.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._discard()
            return _TryAgainError(UnavailableError(said))
        if answer.code in _PASSING:
            after = answer.headers.get("Retry-After", "")
            pause_s = float(after) if after.isdecimal() else 0.0
            return _TryAgainError(UnavailableError(f"{said}; try again later"), pause_s)
        return UnavailableError(f"{said}; check the address, and whether access is allowed")


def _record_of(url: str, headers: Message) -> DownloadRecord:
    length = headers.get("Content-Length", "")
    return DownloadRecord(
        url=url,
        etag=headers.get("ETag", ""),
        last_modified=headers.get("Last-Modified", ""),
        content_md5=headers.get("Content-MD5", ""),
        n_bytes=int(length) if length.isdecimal() else -1,
    )


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _write_record(path: Path, record: DownloadRecord) -> None:
    _record_path(path).write_text(json.dumps(asdict(record), indent=1) + "\n", "utf-8")
