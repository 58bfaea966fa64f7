import base64
import errno
import hashlib
import logging
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cellkin.indexer.genes.corpus import CorpusSources, build_corpus
from cellkin.indexer.genes.download import Download, download, read_record
from cellkin.indexer.genes.fetch import NCBI_FILES, fetch_gene_files, local_file
from cellkin.wire.errors import (
    IntegrityError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)

DATE = "Sun, 22 Nov 2026 08:00:00 GMT"
OTHER_DATE = "Mon, 23 Nov 2026 08:00:00 GMT"
BODY = bytes(range(256)) * 4000


class FileServer(ThreadingHTTPServer):
    """A server that misbehaves as told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = BODY
        self.headers = {"ETag": '"one"', "Last-Modified": DATE}
        self.has_ranges = True
        self.believes_any_validator = False
        self.wrong_start = False
        self.says_length = True
        self.cuts: list[int] = []  # bytes after which to cut each answer
        self.answers: list[tuple[int, dict[str, str]]] = []  # instead of the file
        self.missing: set[str] = set()
        self.asked: list[dict[str, str]] = []
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        server.asked.append({k: v for k, v in self.headers.items() if k[:2] in ("If", "Ra")})
        server.paths.append(self.path)
        if server.answers:
            status, headers = server.answers.pop(0)
            self._head(status, headers)
        elif self.path in server.missing:
            self._head(404, {})
        elif self._is_unchanged():
            self._head(304, {})
        else:
            self._file()

    def _is_unchanged(self) -> bool:
        known = (self.headers["If-None-Match"], self.headers["If-Modified-Since"])
        return any(one and one in self.server.headers.values() for one in known)

    def _file(self) -> None:
        server = self.server
        start = 0
        validators = [self.headers["If-Range"] or ""]
        if self.headers["Range"] and server.has_ranges:
            same = validators[0] in server.headers.values()
            if same or server.believes_any_validator:
                start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start > len(server.body):
            self._head(416, {})
            return
        rest = server.body[start:]
        headers = dict(server.headers)
        if server.says_length:
            headers["Content-Length"] = str(len(rest))
        if start:
            first = start + server.wrong_start
            headers["Content-Range"] = f"bytes {first}-{len(server.body) - 1}/{len(server.body)}"
        self._head(206 if start else 200, headers)
        self.wfile.write(rest[: server.cuts.pop(0)] if server.cuts else rest)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(server: FileServer, path: Path, n_pauses: int = 2) -> Download:
    return download(f"{server.url}/gene_info.gz", path, pauses_s=[0.0] * n_pauses)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "gene_info.gz"


def test_a_file_comes_with_a_record(server: FileServer, path: Path) -> None:
    found = get(server, path)
    assert path.read_bytes() == BODY
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, f"{path.name}.json"]
    assert found.changed
    assert found.record == read_record(path)
    assert vars(found.record) == {
        "url": f"{server.url}/gene_info.gz",
        "etag": '"one"',
        "last_modified": DATE,
        "content_md5": "",
        "n_bytes": len(BODY),
        "sha256": hashlib.sha256(BODY).hexdigest(),
    }


def test_a_cut_connection_is_taken_up_where_it_was_cut(
    server: FileServer, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.cuts = [500_000, 100_000]
    with caplog.at_level(logging.WARNING):
        get(server, path)
    assert path.read_bytes() == BODY
    assert server.asked == [
        {},
        {"Range": "bytes=500000-", "If-Range": '"one"'},
        {"Range": "bytes=600000-", "If-Range": '"one"'},
    ]
    assert caplog.messages[0] == (
        f"download interrupted: {server.url}/gene_info.gz: "
        f"the connection was cut after 500000 of {len(BODY)} bytes"
    )


def test_a_later_run_goes_on_from_what_an_earlier_left(server: FileServer, path: Path) -> None:
    server.cuts = [500_000]
    with pytest.raises(UnavailableError) as raised:
        get(server, path, n_pauses=0)
    assert str(raised.value) == (
        f"{server.url}/gene_info.gz: the connection was cut after 500000 of {len(BODY)} bytes"
    )
    assert not path.exists()
    get(server, path, n_pauses=0)
    assert path.read_bytes() == BODY
    assert server.asked[1]["Range"] == "bytes=500000-"


@pytest.mark.parametrize(
    ("headers", "validator"),
    [({"Last-Modified": DATE}, DATE), ({"ETag": 'W/"one"', "Last-Modified": DATE}, DATE)],
)
def test_without_a_strong_etag_the_date_shows_that_the_file_is_the_same(
    server: FileServer, path: Path, headers: dict[str, str], validator: str
) -> None:
    server.headers, server.cuts = headers, [500_000]
    get(server, path)
    assert path.read_bytes() == BODY
    assert server.asked[1] == {"Range": "bytes=500000-", "If-Range": validator}


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"one"'}])
def test_without_a_validator_the_download_starts_anew(
    server: FileServer, path: Path, headers: dict[str, str]
) -> None:
    server.headers, server.cuts = headers, [500_000]
    get(server, path)
    assert path.read_bytes() == BODY
    assert server.asked == [{}, {}]


def test_a_server_without_ranges_sends_all_again(server: FileServer, path: Path) -> None:
    server.has_ranges, server.cuts = False, [500_000, 400_000]
    get(server, path)
    assert path.read_bytes() == BODY
    assert len(server.asked) == 3


def test_a_server_that_always_cuts_is_given_up(server: FileServer, path: Path) -> None:
    server.has_ranges, server.cuts = False, [500_000] * 20
    with pytest.raises(UnavailableError, match="the connection was cut after 500000 of"):
        get(server, path, n_pauses=3)
    # The first cut got further than nothing; then three pauses that brought nothing more.
    assert len(server.asked) == 4


def test_attempts_that_get_further_are_not_counted(server: FileServer, path: Path) -> None:
    server.cuts = [10_000] * 20
    get(server, path, n_pauses=1)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("overlooks_if_range", [False, True])
def test_a_file_changed_half_way_starts_anew(
    server: FileServer, path: Path, overlooks_if_range: bool
) -> None:
    server.cuts = [500_000]
    with pytest.raises(UnavailableError):
        get(server, path, n_pauses=0)
    server.body, server.headers = BODY[::-1], {"ETag": '"two"', "Last-Modified": OTHER_DATE}
    server.believes_any_validator = overlooks_if_range
    found = get(server, path)
    assert path.read_bytes() == BODY[::-1]
    assert found.record.etag == '"two"'


def test_a_changed_shorter_file_starts_anew(server: FileServer, path: Path) -> None:
    server.cuts = [500_000]
    with pytest.raises(UnavailableError):
        get(server, path, n_pauses=0)
    server.body, server.believes_any_validator = BODY[:1000], True
    get(server, path)
    assert path.read_bytes() == BODY[:1000]


def test_another_part_than_asked_for_is_not_taken(server: FileServer, path: Path) -> None:
    server.cuts, server.wrong_start = [500_000], True
    get(server, path)
    assert path.read_bytes() == BODY
    assert server.asked[2] == {}


def test_a_file_that_did_not_change_is_not_sent_again(server: FileServer, path: Path) -> None:
    first = get(server, path)
    again = get(server, path)
    assert server.asked[1] == {"If-None-Match": '"one"'}
    assert (again.changed, again.record) == (False, first.record)
    server.headers = {"ETag": '"two"', "Last-Modified": OTHER_DATE}
    assert not get(server, path).changed
    server.body = BODY[:-1]
    server.headers = {"Last-Modified": DATE}
    assert get(server, path).changed
    assert path.read_bytes() == BODY[:-1]
    assert not get(server, path).changed
    assert server.asked[-1] == {"If-Modified-Since": DATE}


def test_a_file_that_was_damaged_here_is_sent_again(server: FileServer, path: Path) -> None:
    get(server, path)
    path.write_bytes(BODY[:-1] + b"x")
    assert get(server, path).changed
    assert path.read_bytes() == BODY


def test_a_file_from_elsewhere_is_not_taken_for_this_one(server: FileServer, path: Path) -> None:
    download(f"{server.url}/elsewhere", path)
    server.body = BODY[::-1]  # of the same ETag, which says nothing at another address
    assert get(server, path).changed
    assert path.read_bytes() == BODY[::-1]


def test_the_old_file_stays_until_all_of_the_new_has_come(server: FileServer, path: Path) -> None:
    get(server, path)
    server.body, server.headers, server.cuts = BODY[::-1], {"ETag": '"two"'}, [500_000]
    with pytest.raises(UnavailableError):
        get(server, path, n_pauses=0)
    assert path.read_bytes() == BODY
    get(server, path)
    assert path.read_bytes() == BODY[::-1]


def test_a_file_of_unknown_length_comes_whole(server: FileServer, path: Path) -> None:
    server.says_length = False
    assert get(server, path).record.n_bytes == len(BODY)
    assert path.read_bytes() == BODY


def test_an_empty_file_comes(server: FileServer, path: Path) -> None:
    server.body = b""
    assert get(server, path).record.n_bytes == 0
    assert path.read_bytes() == b""


def test_the_md5_a_server_offers_is_compared(server: FileServer, path: Path) -> None:
    md5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
    server.headers["Content-MD5"], server.cuts = md5, [500_000]
    assert get(server, path).record.content_md5 == md5
    server.body, server.headers["ETag"] = BODY[::-1], '"two"'
    found = base64.b64encode(hashlib.md5(BODY[::-1]).digest()).decode()
    with pytest.raises(IntegrityError) as raised:
        get(server, path)
    assert str(raised.value) == (
        f"{server.url}/gene_info.gz: the bytes have the MD5 {found}, the server said {md5}; "
        "try again later"
    )
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_is_not_there_is_said_at_once(
    server: FileServer, path: Path, status: int
) -> None:
    server.answers = [(status, {})] * 3
    with pytest.raises(NotFoundError) as raised:
        get(server, path)
    reason = {404: "Not Found", 410: "Gone"}[status]
    assert str(raised.value) == (
        f"{server.url}/gene_info.gz: the server answers {status} {reason}; check the address"
    )
    assert len(server.asked) == 1
    assert not path.exists()


def test_a_refusal_is_said_at_once(server: FileServer, path: Path) -> None:
    server.answers = [(403, {})] * 3
    with pytest.raises(UnavailableError) as raised:
        get(server, path)
    assert str(raised.value) == (
        f"{server.url}/gene_info.gz: the server answers 403 Forbidden; "
        "check the address, and whether access is allowed"
    )
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server: FileServer, path: Path) -> None:
    server.answers = [(503, {}), (429, {"Retry-After": "0"})]
    get(server, path)
    assert path.read_bytes() == BODY
    server.answers = [(503, {})] * 3
    with pytest.raises(UnavailableError) as raised:
        get(server, path)
    assert str(raised.value) == (
        f"{server.url}/gene_info.gz: the server answers 503 Service Unavailable; try again later"
    )


def test_the_pause_a_server_asks_for_is_kept(
    server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("cellkin.indexer.genes.download.time.sleep", slept.append)
    answers = [{"Retry-After": "7"}, {"Retry-After": "soon"}, {"Retry-After": "9999"}]
    server.answers = [(429, headers) for headers in answers]
    download(f"{server.url}/x", path, pauses_s=(1.0, 2.0, 4.0))
    assert slept == [7.0, 2.0, 300.0]


def test_a_server_that_does_not_answer_is_said(path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can have the port
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        with pytest.raises(UnavailableError) as raised:
            download(url, path, pauses_s=(0.0,))
    assert str(raised.value) == (
        f"{url}: the server cannot be reached ([Errno {errno.ECONNREFUSED}] Connection refused); "
        "check the address and the connection"
    )


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://bucket/x", "http:///x", "file:///etc/x"])
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        local_file(url, tmp_path)
    assert str(raised.value) == f"source {url}: expected a path, or an http or https URL"


def test_progress_is_told(server: FileServer, path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    download(f"{server.url}/x", path, progress=lambda *step: told.append(step))
    assert told[-1] == ("gene_info.gz", len(BODY), len(BODY))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_gene_files_are_fetched_of_all_species_and_string_of_some(
    server: FileServer, tmp_path: Path
) -> None:
    found = fetch_gene_files(
        tmp_path, [9606, 10090], ncbi_url=f"{server.url}/gene/DATA/", string_url=server.url
    )
    string = [f"{taxon}.protein.info.v12.0.txt.gz" for taxon in (9606, 10090)]
    assert [each.path for each in found] == [tmp_path / name for name in [*NCBI_FILES, *string]]
    assert server.paths == [
        *(f"/gene/DATA/{name}" for name in NCBI_FILES),
        *(f"/protein.info.v12.0/{name}" for name in string),
    ]


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert local_file("a/b.gz") == Path("a/b.gz")
    assert local_file(tmp_path) == tmp_path


def test_files_of_one_name_from_two_places_do_not_mix(server: FileServer, tmp_path: Path) -> None:
    one = local_file(f"{server.url}/one/gene_info.gz", tmp_path)
    server.body, server.headers = b"two", {}
    two = local_file(f"{server.url}/two/gene_info.gz?x=1", tmp_path)
    assert one.name == two.name == "gene_info.gz"
    assert (one.read_bytes(), two.read_bytes()) == (BODY, b"two")


@pytest.mark.parametrize("end", ["", "..", "%2e%2e", "a%2F.."])
def test_no_url_reaches_out_of_its_folder(server: FileServer, tmp_path: Path, end: str) -> None:
    assert local_file(f"{server.url}/{end}", tmp_path).parent.parent == tmp_path


def test_a_corpus_is_built_from_a_url(server: FileServer, tmp_path: Path) -> None:
    header = "#tax_id GeneID Symbol Synonyms dbXrefs description type_of_gene Other_designations"
    row = "9606 3630 INS - - insulin protein-coding -"
    server.body = "\n".join("\t".join(line.split()) for line in (header, row, "")).encode()
    url = f"{server.url}/gene_info.gz"
    corpus = build_corpus(CorpusSources(url), downloads=tmp_path)
    assert corpus.table["text"].to_pylist() == ["insulin"]
    (source,) = corpus.report.sources
    assert (source.location, source.last_modified) == (url, DATE)
