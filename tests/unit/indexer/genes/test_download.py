import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cellkin.indexer.genes import download as module
from cellkin.indexer.genes.corpus import CorpusSources, build_corpus
from cellkin.indexer.genes.download import Download, download, read_record
from cellkin.indexer.genes.fetch import NCBI_FILES, fetch_gene_files, local_file
from cellkin.wire.errors import (
    FailedPreconditionError,
    IntegrityError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
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
        self.ignores_conditions = False
        self.wrong_start = False
        self.says_length = True
        self.after_cut: Callable[[], None] = lambda: None
        self.cuts: list[int] = []  # bytes after which to cut each answer
        self.answers: list[tuple[int, dict[str, str]]] = []  # instead of the file
        self.missing: set[str] = set()
        self.headers_received: list[dict[str, str]] = []
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def asked(self) -> list[dict[str, str]]:
        """The conditions and ranges of the requests."""
        return [
            {name: value for name, value in headers.items() if name[:3] in ("if-", "ran")}
            for headers in self.headers_received
        ]


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        headers = {name.lower(): value for name, value in self.headers.items()}
        server.headers_received.append(headers)
        server.paths.append(self.path)
        if server.answers:
            self._head(*server.answers.pop(0))
        elif self.path in server.missing:
            self._head(404, {})
        elif self._has("If-None-Match", "If-Modified-Since"):
            self._head(304, {})
        elif self._lacks("If-Match", "If-Unmodified-Since"):
            self._head(412, {})
        else:
            self._file()

    def _has(self, *conditions: str) -> bool:
        return any(self.headers[name] in self.server.headers.values() for name in conditions)

    def _lacks(self, *conditions: str) -> bool:
        given = [self.headers[name] for name in conditions if self.headers[name]]
        changed = any(value not in self.server.headers.values() for value in given)
        return changed and not self.server.ignores_conditions

    def _file(self) -> None:
        server = self.server
        start = 0
        if self.headers["Range"] and server.has_ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0])
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
        with suppress(ConnectionError):
            if not server.cuts:
                self.wfile.write(rest)
                return
            self.wfile.write(rest[: server.cuts.pop(0)])
            server.after_cut()

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


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two retries without pauses, and no proxy."""
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.0))
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def get(server: FileServer, path: Path) -> Download:
    return download(f"{server.url}/gene_info.gz", path)


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
        "n_bytes": len(BODY),
        "sha256": hashlib.sha256(BODY).hexdigest(),
    }


def test_a_record_of_an_earlier_release_is_read(server: FileServer, path: Path) -> None:
    found = get(server, path)
    record = path.with_name(f"{path.name}.json")
    record.write_text(json.dumps(vars(found.record) | {"content_md5": "x"}))
    assert not get(server, path).changed


def test_a_cut_connection_is_resumed(server: FileServer, path: Path) -> None:
    server.cuts = [500_000, 100_000]
    get(server, path)
    assert path.read_bytes() == BODY
    starts = [int(asked["range"][len("bytes=") : -1]) for asked in server.asked[1:]]
    assert 400_000 < starts[0] <= 500_000 < starts[1] <= 600_000


def interrupt(server: FileServer, path: Path) -> None:
    """Let a run fail after half of the file."""
    server.cuts, server.after_cut = [500_000], lambda: server.answers.extend([(503, {})] * 6)
    with pytest.raises(UnavailableError) as raised:
        get(server, path)
    assert f"{server.url}/gene_info.gz" in raised.value.message
    server.answers.clear()
    server.after_cut = lambda: None
    server.headers_received.clear()


@pytest.mark.parametrize(
    ("headers", "condition"),
    [
        ({"ETag": '"one"'}, {"if-match": '"one"'}),
        ({"ETag": '"one"', "Last-Modified": DATE}, {"if-match": '"one"'}),
        ({"Last-Modified": DATE}, {"if-unmodified-since": DATE}),
        ({"ETag": 'W/"one"', "Last-Modified": DATE}, {"if-unmodified-since": DATE}),
    ],
)
def test_a_later_run_resumes(
    server: FileServer,
    path: Path,
    headers: dict[str, str],
    condition: dict[str, str],
) -> None:
    server.headers = headers
    interrupt(server, path)
    assert not path.exists()
    get(server, path)
    assert path.read_bytes() == BODY
    (asked,) = server.asked
    assert 400_000 < int(asked.pop("range").removeprefix("bytes=").removesuffix("-")) <= 500_000
    assert asked == condition


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"one"'}])
def test_without_a_validator_a_later_run_starts_anew(
    server: FileServer, path: Path, headers: dict[str, str]
) -> None:
    server.headers = headers
    interrupt(server, path)
    get(server, path)
    assert path.read_bytes() == BODY
    assert server.asked == [{}]


@pytest.mark.parametrize("lacks", ["has_ranges", "right_start"])
def test_a_server_that_does_not_resume_sends_all_again(
    server: FileServer, path: Path, lacks: str
) -> None:
    interrupt(server, path)
    server.has_ranges, server.wrong_start = lacks != "has_ranges", lacks == "right_start"
    get(server, path)
    assert path.read_bytes() == BODY
    assert server.asked[-1] == {}


def test_a_server_that_always_cuts_is_given_up(server: FileServer, path: Path) -> None:
    server.has_ranges, server.cuts = False, [100_000] * 20
    with pytest.raises(UnavailableError, match="kept"):
        get(server, path)
    # Two more attempts, each of which asks for the rest in vain first.
    assert len(server.asked) == 5


def test_attempts_that_get_further_are_not_counted(server: FileServer, path: Path) -> None:
    server.cuts = [100_000] * 20
    get(server, path)
    assert path.read_bytes() == BODY


def test_no_network_loses_nothing_of_an_unfinished_download(server: FileServer, path: Path) -> None:
    interrupt(server, path)
    server.answers = [(503, {})] * 6
    with pytest.raises(UnavailableError, match="503"):
        get(server, path)
    server.headers_received.clear()
    get(server, path)
    assert "range" in server.asked[0]
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("body", [BODY[::-1], BODY[:1000]])
@pytest.mark.parametrize("ignores_conditions", [False, True])
def test_a_file_changed_between_runs_starts_anew(
    server: FileServer,
    path: Path,
    ignores_conditions: bool,
    body: bytes,
) -> None:
    interrupt(server, path)
    server.body, server.headers = body, {"ETag": '"two"', "Last-Modified": OTHER_DATE}
    server.ignores_conditions = ignores_conditions
    found = get(server, path)
    assert path.read_bytes() == body
    assert found.record.etag == '"two"'


def test_a_file_changed_during_a_run_is_not_mixed(server: FileServer, path: Path) -> None:
    def change() -> None:
        server.body, server.headers = BODY[::-1], {"ETag": '"two"', "Last-Modified": OTHER_DATE}

    server.cuts = [700_000]
    server.after_cut = change
    with suppress(UnavailableError):
        get(server, path)
    get(server, path)
    assert path.read_bytes() == BODY[::-1]


def test_two_writers_of_one_file_are_noticed(server: FileServer, path: Path) -> None:
    part = path.with_name(f"{path.name}.part")

    def write_too(*_: object) -> None:
        with part.open("ab") as file:
            file.write(b"x")

    with pytest.raises(IntegrityError, match="another process"):
        download(f"{server.url}/x", path, progress=write_too)
    assert not path.exists()
    download(f"{server.url}/x", path)
    assert path.read_bytes() == BODY


def test_a_file_that_did_not_change_is_not_sent_again(server: FileServer, path: Path) -> None:
    first = get(server, path)
    again = get(server, path)
    assert server.asked[1] == {"if-none-match": '"one"'}
    assert (again.changed, again.record) == (False, first.record)
    server.headers = {"ETag": '"two"', "Last-Modified": OTHER_DATE}
    assert not get(server, path).changed
    server.body = BODY[:-1]
    server.headers = {"Last-Modified": DATE}
    assert get(server, path).changed
    assert path.read_bytes() == BODY[:-1]
    assert not get(server, path).changed
    assert server.asked[-1] == {"if-modified-since": DATE}


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
    server.body, server.headers = BODY[::-1], {"ETag": '"two"'}
    interrupt(server, path)
    assert path.read_bytes() == BODY
    get(server, path)
    assert path.read_bytes() == BODY[::-1]


def test_a_file_of_unknown_length_is_refused(server: FileServer, path: Path) -> None:
    server.says_length = False
    with pytest.raises(FailedPreconditionError, match="size of the file"):
        get(server, path)
    assert len(server.asked) == 1


def test_an_empty_file_comes(server: FileServer, path: Path) -> None:
    server.body = b""
    assert get(server, path).record.n_bytes == 0
    assert path.read_bytes() == b""


@pytest.mark.parametrize("status", [404, 410])
def test_a_missing_file_is_not_requested_again(server: FileServer, path: Path, status: int) -> None:
    server.answers = [(status, {})] * 3
    with pytest.raises(NotFoundError) as raised:
        get(server, path)
    assert f"{server.url}/gene_info.gz" in raised.value.message
    assert str(status) in raised.value.message
    assert len(server.asked) == 1
    assert not path.exists()


def test_a_refusal_is_not_requested_again(server: FileServer, path: Path) -> None:
    server.answers = [(403, {})] * 3
    with pytest.raises(PermissionDeniedError, match="403 Forbidden"):
        get(server, path)
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again(server: FileServer, path: Path) -> None:
    server.answers = [(503, {}), (429, {})]
    get(server, path)
    assert path.read_bytes() == BODY
    server.answers = [(503, {})] * 3
    with pytest.raises(UnavailableError, match="503 Service Unavailable"):
        get(server, path)


def test_a_server_that_does_not_answer(path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody else can have the port
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        with pytest.raises(UnavailableError, match="refused") as raised:
            download(url, path)
    assert url in raised.value.message


def test_a_redirect_is_followed(server: FileServer, path: Path) -> None:
    server.answers = [(302, {"Location": f"{server.url}/elsewhere"})]
    assert get(server, path).record.url == f"{server.url}/gene_info.gz"
    assert server.paths == ["/gene_info.gz", "/elsewhere"]
    assert path.read_bytes() == BODY


def test_a_proxy_of_the_environment_is_used(
    server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    download("http://files.invalid/x.gz", path)
    assert server.paths == ["http://files.invalid/x.gz"]
    assert path.read_bytes() == BODY


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "s3://bucket/x",
        "http:///x",
        "file:///etc/x",
        "http://[::1/x",
        "https://host:port/x",
        "https://me:secret@host/x",
    ],
)
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="expected a path, or an http") as raised:
        local_file(url, tmp_path)
    assert "secret" not in raised.value.message


def test_progress_is_reported(server: FileServer, path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    server.body = BODY * 5
    download(f"{server.url}/x", path, progress=lambda *step: told.append(step))
    assert told[-1] == ("gene_info.gz", len(server.body), len(server.body))
    assert len(told) > 1
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
