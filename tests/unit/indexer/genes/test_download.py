import base64
import datetime as dt
import hashlib
import ipaddress
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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
        else:
            self._file()

    def _has(self, *conditions: str) -> bool:
        return any(self.headers[name] in self.server.headers.values() for name in conditions)

    def _file(self) -> None:
        server = self.server
        start = 0
        same = self.headers["If-Range"] in server.headers.values() or server.ignores_conditions
        if self.headers["Range"] and server.has_ranges and same:
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


@contextmanager
def serving(running: FileServer) -> Iterator[FileServer]:
    with running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(FileServer()) as running:
        yield running


@pytest.fixture
def tls_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server over https that is trusted by this test."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "certificate.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    running = FileServer()
    running.socket = context.wrap_socket(running.socket, server_side=True)
    with serving(running):
        yield running


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
        "content_md5": "",
        "n_bytes": len(BODY),
        "sha256": hashlib.sha256(BODY).hexdigest(),
    }


def test_a_cut_connection_is_resumed(server: FileServer, path: Path) -> None:
    server.cuts = [500_000, 100_000]
    get(server, path)
    assert path.read_bytes() == BODY
    assert server.asked == [
        {},
        {"range": "bytes=500000-", "if-range": '"one"'},
        {"range": "bytes=600000-", "if-range": '"one"'},
    ]


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
    ("headers", "validator"),
    [
        ({"ETag": '"one"'}, '"one"'),
        ({"ETag": '"one"', "Last-Modified": DATE}, '"one"'),
        ({"Last-Modified": DATE}, DATE),
        ({"ETag": 'W/"one"', "Last-Modified": DATE}, DATE),
    ],
)
def test_a_later_run_resumes(
    server: FileServer, path: Path, headers: dict[str, str], validator: str
) -> None:
    server.headers = headers
    interrupt(server, path)
    assert not path.exists()
    get(server, path)
    assert path.read_bytes() == BODY
    assert server.asked == [{"range": "bytes=500000-", "if-range": validator}]


def test_a_resume_keeps_its_condition_after_a_redirect(server: FileServer, path: Path) -> None:
    interrupt(server, path)
    server.answers = [(302, {"Location": f"{server.url}/elsewhere"})]
    get(server, path)
    assert path.read_bytes() == BODY
    assert server.asked == [{"range": "bytes=500000-", "if-range": '"one"'}] * 2


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"one"'}])
def test_without_a_validator_a_later_run_starts_anew(
    server: FileServer, path: Path, headers: dict[str, str]
) -> None:
    server.headers = headers
    interrupt(server, path)
    get(server, path)
    assert path.read_bytes() == BODY
    assert server.asked == [{}]


def test_a_server_without_ranges_sends_all_again(server: FileServer, path: Path) -> None:
    interrupt(server, path)
    server.has_ranges = False
    get(server, path)
    assert path.read_bytes() == BODY
    assert len(server.asked) == 1


def test_another_part_than_requested_is_not_taken(server: FileServer, path: Path) -> None:
    interrupt(server, path)
    server.wrong_start = True
    get(server, path)
    assert path.read_bytes() == BODY
    assert server.asked[-1] == {}


def test_a_server_that_always_cuts_is_given_up(server: FileServer, path: Path) -> None:
    server.has_ranges, server.cuts = False, [100_000] * 20
    with pytest.raises(UnavailableError, match="kept"):
        get(server, path)
    assert len(server.asked) == 3


def test_attempts_that_get_further_are_not_counted(server: FileServer, path: Path) -> None:
    server.cuts = [100_000] * 20
    get(server, path)
    assert path.read_bytes() == BODY


def test_no_network_loses_nothing_of_an_unfinished_download(server: FileServer, path: Path) -> None:
    interrupt(server, path)
    server.answers = [(503, {})] * 3
    with pytest.raises(UnavailableError, match="503"):
        get(server, path)
    server.headers_received.clear()
    get(server, path)
    assert "range" in server.asked[0]
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("body", [BODY[::-1], BODY[:1000]])
@pytest.mark.parametrize(
    ("ignores_conditions", "headers"),
    [
        (False, {"ETag": '"two"', "Last-Modified": OTHER_DATE}),
        (True, {"ETag": '"two"', "Last-Modified": OTHER_DATE}),
        (False, {}),
    ],
)
def test_a_file_changed_between_runs_starts_anew(
    server: FileServer,
    path: Path,
    ignores_conditions: bool,
    headers: dict[str, str],
    body: bytes,
) -> None:
    interrupt(server, path)
    server.body, server.headers = body, headers
    server.ignores_conditions = ignores_conditions
    found = get(server, path)
    assert path.read_bytes() == body
    assert found.record.etag == headers.get("ETag", "")


def test_a_part_of_a_file_of_another_size_is_not_taken(server: FileServer, path: Path) -> None:
    interrupt(server, path)
    server.body, server.headers, server.ignores_conditions = BODY[::-1] * 2, {}, True
    get(server, path)
    assert path.read_bytes() == BODY[::-1] * 2


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


def test_a_file_of_unknown_length_comes_whole(server: FileServer, path: Path) -> None:
    server.says_length = False
    told: list[int | None] = []
    found = download(f"{server.url}/x", path, progress=lambda *step: told.append(step[2]))
    assert found.record.n_bytes == len(BODY)
    assert path.read_bytes() == BODY
    assert set(told) == {None}


def test_the_md5_that_a_server_says_is_compared(server: FileServer, path: Path) -> None:
    md5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
    server.headers["Content-MD5"], server.cuts = md5, [500_000]
    assert get(server, path).record.content_md5 == md5
    server.body, server.headers["ETag"] = BODY[::-1], '"two"'
    found = base64.b64encode(hashlib.md5(BODY[::-1]).digest()).decode()
    with pytest.raises(IntegrityError) as raised:
        get(server, path)
    assert found in raised.value.message
    assert md5 in raised.value.message
    assert path.read_bytes() == BODY


def test_ctrl_c_ends_a_download_from_a_server_that_stalls(server: FileServer, path: Path) -> None:
    over = threading.Event()

    def stall() -> None:
        time.sleep(0.1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        over.wait(30)

    server.cuts, server.after_cut = [500_000], stall
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            get(server, path)
        assert time.monotonic() - started < 5
    finally:
        signal.signal(signal.SIGINT, before)
        over.set()
    server.after_cut = lambda: None
    get(server, path)
    assert path.read_bytes() == BODY
    assert server.asked[-1] == {"range": "bytes=500000-", "if-range": '"one"'}


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


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_not_requested_again(server: FileServer, path: Path, status: int) -> None:
    server.answers = [(status, {})] * 3
    with pytest.raises(PermissionDeniedError, match=str(status)):
        get(server, path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [204, 400])
def test_another_answer_is_no_file(server: FileServer, path: Path, status: int) -> None:
    server.answers = [(status, {})] * 3
    with pytest.raises(UnavailableError, match=str(status)):
        get(server, path)
    assert len(server.asked) == 1
    assert not path.exists()


def test_a_busy_server_is_asked_again(server: FileServer, path: Path) -> None:
    server.answers = [(503, {}), (429, {})]
    get(server, path)
    assert path.read_bytes() == BODY
    server.answers = [(503, {})] * 3
    with pytest.raises(UnavailableError, match="503 Service Unavailable"):
        get(server, path)


def test_the_pause_a_server_asks_for_is_kept(
    server: FileServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(module, "PAUSES_S", (1.0, 2.0, 4.0))
    monkeypatch.setattr(f"{module.__name__}.time.sleep", slept.append)
    answers = [{"Retry-After": "7"}, {"Retry-After": "soon"}, {"Retry-After": "9999"}]
    server.answers = [(429, headers) for headers in answers]
    get(server, path)
    assert slept == [7.0, 2.0, 300.0]


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


@pytest.mark.parametrize(
    "location",
    [
        "ftp://me:secret@127.0.0.1/x",
        "file:///etc/secret",
        "s3://me:secret@bucket/x",
        "http://me:secret@127.0.0.1/x",
        "http://[::1/secret",
        "",
    ],
)
def test_other_redirects_are_refused(server: FileServer, path: Path, location: str) -> None:
    server.answers = [(302, {"Location": location or f"{server.url}/x"})] * (1 if location else 20)
    with pytest.raises(FailedPreconditionError, match="redirect") as raised:
        get(server, path)
    assert "secret" not in raised.value.message
    assert raised.value.__cause__ is None
    assert len(server.asked) == 1 or not location
    assert not path.exists()


def test_a_redirect_from_https_to_http_is_refused(
    server: FileServer, tls_server: FileServer, path: Path
) -> None:
    url = f"https://127.0.0.1:{tls_server.server_address[1]}/x"
    tls_server.answers = [(302, {"Location": f"{server.url}/x"})]
    with pytest.raises(FailedPreconditionError, match="from https to http"):
        download(url, path)
    assert not server.asked
    server.answers = [(302, {"Location": url})]
    assert get(server, path).record.url == f"{server.url}/gene_info.gz"
    assert path.read_bytes() == BODY


def test_a_malformed_proxy_is_not_shown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http:/me:secret@host")
    with pytest.raises(FailedPreconditionError, match="http_proxy") as raised:
        download("http://files.invalid/x.gz", path)
    assert "secret" not in raised.value.message


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
        "https://host:99999/x",
        "https://a..b/x",
        "https://host/a b",
        "https://host/\u00e9",
        "https://me:secret@host/x",
        "https://me:sec/ret@host/x",
        "ftp://me:secret@host/x",
    ],
)
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="expected a path, or an http") as raised:
        local_file(url, tmp_path)
    assert "secret" not in raised.value.message
    assert "me:" not in raised.value.message
    assert not list(tmp_path.iterdir())


def test_progress_is_reported(server: FileServer, path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
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
