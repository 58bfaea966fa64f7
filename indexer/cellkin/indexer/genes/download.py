"""Download of one file over HTTP: resumed where it was interrupted, checked, with a record.

Beside a file ``F`` lies its record ``F.json``. During a download ``F.part`` holds the bytes so far
and ``F.part.json`` what the server said about the file they belong to; if the file has changed on
the server since, the download starts anew. Redirects are followed, and the proxies of the
environment used, by urllib.
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
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from cellkin.wire.errors import (
    CellkinError,
    FailedPreconditionError,
    IntegrityError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the name of the file, its bytes so far and its size, None if that is unknown."""

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts that get no further; after the last one the download fails."""
_LONGEST_PAUSE_S = 300.0
_TIMEOUT_S = 60.0
_CHUNK_BYTES = 1 << 20
_TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

_log = logging.getLogger("cellkin.indexer")


@dataclass(frozen=True)
class DownloadRecord:
    """Origin and digest of a downloaded file.

    Attributes
    ----------
    url
        Where it came from.
    etag, last_modified, content_md5
        As the server said; "" if it did not. The file has the MD5, which is in base64.
    n_bytes
        Size; -1 if it is unknown during the download.
    sha256
        Of the whole file, hexadecimal; "" during the download.
    """

    url: str
    etag: str
    last_modified: str
    content_md5: str
    n_bytes: int
    sha256: str = ""

    @property
    def validator(self) -> str:
        """The strong ETag, or else the date, by which a resume is conditional; "" for neither."""
        return self.last_modified if self.etag.startswith("W/") else self.etag or self.last_modified


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
        An http or https URL without a user name and password.
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
        If the server redirects to an address that is not followed.
    UnavailableError
        If the server cannot be reached, is overloaded, or cuts the connection repeatedly.
    IntegrityError
        If the file has another MD5 than the server said, or is longer than it should be, as when
        two processes download it.
    """
    if not _is_valid(url):
        shown = re.sub("(?s)//.*@", "//", url)  # without what may be a user name and password
        raise InvalidArgumentError(
            f"source {shown}: expected a path, or an http or https URL without a user and password"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    attempt = _Attempt(url, path, progress)
    pauses_s = iter(PAUSES_S)
    furthest = attempt.n_bytes()
    while True:
        try:
            return attempt.run()
        except _TemporaryError as failure:
            if attempt.n_bytes() > furthest:
                furthest, pauses_s = attempt.n_bytes(), iter(PAUSES_S)
            pause_s = next(pauses_s, None)
            if pause_s is None:
                raise failure.error from None
            _log.warning("download interrupted: %s", failure.error.message)
            time.sleep(min(max(pause_s, failure.pause_s), _LONGEST_PAUSE_S))


def read_record(path: Path) -> DownloadRecord | None:
    """Return the record beside a file, None if there is none."""
    try:
        return DownloadRecord(**json.loads(_record_path(path).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _TemporaryError(Exception):
    """The next attempt may succeed; ``error`` is raised if none does."""

    def __init__(self, error: CellkinError, pause_s: float = 0.0) -> None:
        super().__init__(error.message)
        self.error = error
        self.pause_s = pause_s


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects that keep to http and https, and from https to https alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        schemes = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if not _is_valid(newurl) or schemes == ("https", "http"):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().http_error_302(*args, **kwargs)
        except ValueError:  # not a URL
            return None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _Attempt:
    """An attempt at a download; each continues what the one before left."""

    def __init__(self, url: str, path: Path, progress: Progress | None) -> None:
        self._url = url
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._progress = progress

    def n_bytes(self) -> int:
        """Return how many bytes have arrived."""
        return self._part.stat().st_size if self._part.exists() else 0

    def run(self) -> Download:
        """Request what is missing and put the file in its place."""
        previous = self._intact()
        begun = read_record(self._part)
        if begun and (begun.url != self._url or not begun.validator or not self.n_bytes()):
            begun = None
        try:
            with self._open(previous, begun) as response:
                begun = self._accept(response, begun)
                self._receive(response, begun.n_bytes)
        except urllib.error.HTTPError as answer:
            answer.close()
            if answer.code == HTTPStatus.NOT_MODIFIED and previous:
                return Download(self._path, previous, changed=False)
            raise self._refusal(answer) from None
        self._check(begun)
        return self._finish(begun, previous)

    def _intact(self) -> DownloadRecord | None:
        """Return the record of the file that is present, if the file is as the record says."""
        record = read_record(self._path)
        if record is None or record.url != self._url or not self._path.is_file():
            return None
        return record if file_sha256(self._path) == record.sha256 else None

    def _open(
        self, previous: DownloadRecord | None, begun: DownloadRecord | None
    ) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._url, headers={"User-Agent": "cellkin"})
        if begun:
            request.add_header("Range", f"bytes={self.n_bytes()}-")
            request.add_header("If-Range", begun.validator)
        elif previous and previous.etag:
            request.add_header("If-None-Match", previous.etag)
        elif previous and previous.last_modified:
            request.add_header("If-Modified-Since", previous.last_modified)
        opener = urllib.request.build_opener(_Redirects)
        try:
            response: http.client.HTTPResponse = opener.open(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError:
            raise
        except (http.client.InvalidURL, ValueError):
            # The text of this error has the address, which may have a password.
            raise FailedPreconditionError(
                f"{self._url}: the proxy in http_proxy or https_proxy is not a valid URL"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            unreachable = UnavailableError(
                f"{self._url}: the server cannot be reached ({cause}); check address and connection"
            )
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise unreachable from None
            raise _TemporaryError(unreachable) from None
        return response

    def _accept(
        self, response: http.client.HTTPResponse, begun: DownloadRecord | None
    ) -> DownloadRecord:
        """Return the record of the file that is sent; start anew unless its rest is."""
        found = self._record_of(response)
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            if begun and self._is_rest(response, begun, found):
                return begun
            self._discard()
            other = UnavailableError(f"{self._url}: the server sends another part than requested")
            raise _TemporaryError(other)
        if response.status != HTTPStatus.OK:
            said = f"{response.status} {response.reason} and no file"
            raise UnavailableError(f"{self._url}: the server answers {said}; check the address")
        self._part.write_bytes(b"")
        _write_record(self._part, found)
        return found

    def _is_rest(
        self, response: http.client.HTTPResponse, begun: DownloadRecord, found: DownloadRecord
    ) -> bool:
        part = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if part is None or int(part[1]) != self.n_bytes():
            return False
        # Servers may ignore If-Range and send the rest of another file.
        same_size = part[2] == "*" or begun.n_bytes in (-1, int(part[2]))
        return same_size and found.validator in ("", begun.validator)

    def _receive(self, response: http.client.HTTPResponse, n_bytes: int) -> None:
        done = self.n_bytes()
        with self._part.open("ab") as file:
            while chunk := self._read(response, done):
                file.write(chunk)
                done += len(chunk)
                if self._progress:
                    self._progress(self._path.name, done, n_bytes if n_bytes >= 0 else None)
            file.flush()
            os.fsync(file.fileno())

    def _read(self, response: http.client.HTTPResponse, done: int) -> bytes:
        try:
            # read() would lose what arrived before the connection was cut.
            return response.read1(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _TemporaryError(self._cut(f"{done} bytes ({error})")) from None

    def _cut(self, after: str) -> UnavailableError:
        return UnavailableError(
            f"{self._url}: the connection was cut after {after}; what has arrived is kept: check "
            "the connection and run again"
        )

    def _check(self, begun: DownloadRecord) -> None:
        """Check that the file is complete and has the MD5 that the server said."""
        done = self.n_bytes()
        if 0 <= begun.n_bytes < done:
            self._discard()
            raise IntegrityError(
                f"{self._url}: {done} bytes were written of a file of {begun.n_bytes}; if another "
                "process downloads it, run again afterwards"
            )
        if done < begun.n_bytes:
            raise _TemporaryError(self._cut(f"{done} of {begun.n_bytes} bytes"))
        if begun.content_md5:
            with self._part.open("rb") as file:
                md5 = base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()
            if md5 != begun.content_md5:
                self._discard()
                error = IntegrityError(
                    f"{self._url}: the MD5 of the file is {md5}, the server said "
                    f"{begun.content_md5}; try again later"
                )
                raise _TemporaryError(error)

    def _finish(self, begun: DownloadRecord, previous: DownloadRecord | None) -> Download:
        record = replace(begun, n_bytes=self.n_bytes(), sha256=file_sha256(self._part))
        self._part.replace(self._path)
        _write_record(self._path, record)
        _record_path(self._part).unlink()
        return Download(self._path, record, previous is None or previous.sha256 != record.sha256)

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        _record_path(self._part).unlink(missing_ok=True)

    def _refusal(self, answer: urllib.error.HTTPError) -> Exception:
        if answer.code in _REDIRECTS:
            # urllib's text has the address, which may have a password.
            return FailedPreconditionError(
                f"{self._url}: the server answers {answer.code}, and its redirect is not followed: "
                "only 10 are, to http and https URLs without a user name and password, and not "
                "from https to http; give the address of the file itself"
            )
        said = f"{self._url}: the server answers {answer.code} {answer.reason}"
        if answer.code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            return NotFoundError(f"{said}; check the address")
        if answer.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return PermissionDeniedError(
                f"{said}; check the address, and whether access is allowed"
            )
        if answer.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._discard()
            return _TemporaryError(UnavailableError(said))
        if answer.code in _TEMPORARY:
            after = answer.headers.get("Retry-After", "")
            pause_s = float(after) if after.isdecimal() else 0.0
            return _TemporaryError(UnavailableError(f"{said}; try again later"), pause_s)
        return UnavailableError(f"{said}; check the address")

    def _record_of(self, response: http.client.HTTPResponse) -> DownloadRecord:
        said = response.headers
        return DownloadRecord(
            url=self._url,
            etag=said.get("ETag", ""),
            last_modified=said.get("Last-Modified", ""),
            content_md5=said.get("Content-MD5", ""),
            n_bytes=-1 if response.length is None else response.length,
        )


def _is_valid(url: str) -> bool:
    """Return whether it is an http or https URL without a user name and password."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        is_named = bool(host) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and is_named and bool(re.fullmatch("[!-~]+", url))


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _write_record(path: Path, record: DownloadRecord) -> None:
    _record_path(path).write_text(json.dumps(asdict(record), indent=1) + "\n", "utf-8")
