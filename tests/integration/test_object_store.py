"""A store behind the S3 protocol: exact rows under concurrent writers, or a refusal."""

import http.client
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

import pytest
from tests.integration.buckets import new_bucket, s3_server

from cellkin.server.metrics import Metrics
from cellkin.server.version_cache import VersionCache
from cellkin.store.backup import copy_store
from cellkin.store.catalog import Kind
from cellkin.store.catalog_tables import _PATIENCE
from cellkin.store.gc import collect, orphans
from cellkin.store.maintenance import damage
from cellkin.store.store import Store
from cellkin.wire.errors import (
    FailedPreconditionError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
)
from cellkin.wire.names import VersionName

pytestmark = pytest.mark.integration
Run = Callable[..., subprocess.CompletedProcess[str]]


class Careless(BaseHTTPRequestHandler):
    """Passes requests on without their conditions, as some S3 servers treat them."""

    protocol_version = "HTTP/1.1"
    behind = 0
    # What is answered instead where the path has the part: (part, status).
    refused: tuple[str, int] | None = None

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.refused is not None and self.refused[0] in unquote(self.path):
            self.send_response(self.refused[1])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        headers = {k: v for k, v in self.headers.items() if k.lower() != "if-none-match"}
        server = http.client.HTTPConnection("127.0.0.1", self.behind)
        server.request(self.command, self.path, body, headers)
        answer = server.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(key, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        server.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@contextmanager
def proxy_before(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the environment point at a careless server before the one at a port."""
    Careless.behind = port
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{proxy.server_address[1]}"
        monkeypatch.setenv("AWS_ENDPOINT", address)
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        yield
    finally:
        Careless.refused = None
        proxy.shutdown()
        proxy.server_close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with s3_server() as port:
        yield port


@pytest.fixture
def bucket(port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A new bucket; the environment points at the server."""
    return new_bucket(port, monkeypatch, tmp_path)


def test_a_store_in_a_bucket_serves_like_one_on_disk(
    bucket: str,
    reference_path: Path,
    query_path: Path,
    tmp_path: Path,
    run_cellkin: Run,
    serve: Callable[..., object],
) -> None:
    table = "#tax_id\tGeneID\tSymbol\tLocusTag\tSynonyms\tdbXrefs\tchromosome\tmap_location\t"
    table += "description\ttype_of_gene\tSymbol_from_nomenclature_authority\t"
    table += "Full_name_from_nomenclature_authority\tNomenclature_status\tOther_designations\t"
    table += "Modification_date\tFeature_type\n"
    for i in range(1, 121):
        cells = ["9606", str(i), f"GENE{i}", *["-"] * 5, f"gene number {i}", "protein-coding"]
        table += "\t".join([*cells, *["-"] * 6]) + "\n"
    (tmp_path / "gene_info").write_text(table)
    for arguments in (
        ("genes", "import", "--store", bucket, "--gene-info", tmp_path / "gene_info"),
        ("genes", "embed", "--store", bucket, "--model", "random:32:1"),
        (
            "cells", "index", reference_path, "--store", bucket, "--name", "trio", "--label",
            "cell_type", "--embedding", "random:32:1",
        ),
        ("corpora", "verify", "--store", bucket),
        ("embeddings", "verify", "--store", bucket),
        ("indexes", "verify", "--store", bucket),
    ):  # fmt: skip
        done = run_cellkin(*arguments)
        assert done.returncode == 0, done.stderr
    with serve(bucket) as (address, _):  # type: ignore[attr-defined]
        asked = ("annotate", query_path, "--index", "trio", "--server", address, "--json")
        done = run_cellkin(*asked)
    assert done.returncode == 0, done.stderr
    assert '"alpha"' in done.stdout


def test_a_store_is_copied_into_a_bucket_and_out_of_it(
    bucket: str, own_store: Path, tmp_path: Path
) -> None:
    def silent(done: int, total: int) -> None:
        assert done <= total

    def content(store: Store) -> tuple[object, object, set[str]]:
        view = Store.open(store.uri).catalog.view()
        return view.all_entries, view.aliases, {damage(store, entry) for entry in view.all_entries}

    store = Store.open(str(own_store))
    there = copy_store(store.uri, bucket, silent).store
    assert content(there) == content(store)
    assert content(store)[2] == {""}
    index = there.catalog.entries(Kind.INDEX)[0]
    there.catalog.set_alias(index, "stable")
    there.publish_index("left", lambda folder: (folder / "a").write_text("1") and None, {})
    back = copy_store(bucket, str(tmp_path / "back"), silent).store
    assert content(back) == content(there)
    assert copy_store(bucket, back.uri, silent).n_files == 0
    # What was removed goes from the bucket, and nothing else.
    (left,) = there.catalog.entries(Kind.INDEX, "left")
    there.catalog.remove([left])
    found = orphans(there)
    assert [orphan.where for orphan in found] == [left.manifest["path"]]
    assert collect(there, timedelta(0), force=True) == found
    assert content(Store.open(bucket))[2] == {""}
    # The copy in the cache is whole; what counts is the object.
    name = next(iter(index.manifest["files"]))
    there.files.write(f"{index.manifest['path']}/{name}", [b"damaged"])
    assert "does not have the digest" in damage(there, index)


def test_writers_at_one_time_lose_no_version(bucket: str) -> None:
    store = Store.create(bucket)
    code = (
        "import sys\n"
        "from cellkin.store.store import Store\n"
        "from cellkin.store.catalog import Kind\n"
        "catalog = Store.open(sys.argv[1]).catalog\n"
        "for i in range(5): catalog.commit(Kind.INDEX, 'shared', 'd', {'who': sys.argv[2], 'i': i})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, bucket, str(who)]) for who in range(3)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    entries = store.catalog.entries(Kind.INDEX, "shared")
    assert len({entry.version for entry in entries}) == 15
    assert {(e.manifest["who"], e.manifest["i"]) for e in entries} == {
        (str(who), i) for who in range(3) for i in range(5)
    }


def test_a_server_that_ignores_the_condition_is_refused(
    bucket: str, port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_cellkin: Run
) -> None:
    Store.create(bucket)
    with proxy_before(port, monkeypatch):
        # Reading is safe anywhere; writing is not.
        store = Store.open(bucket)
        with pytest.raises(FailedPreconditionError, match="ignores the condition of a PUT"):
            store.publish_index("x", lambda folder: None, {})
        done = run_cellkin("genes", "embed", "--store", bucket, "--model", "random:8:1")
        assert done.returncode == 2
        (tmp_path / "gene_info").write_text("x")
        done = run_cellkin(
            "genes", "import", "--store", bucket + "2", "--gene-info", tmp_path / "gene_info"
        )
        assert done.returncode == 2


@pytest.mark.parametrize(
    ("part", "status"), [("catalog-marks", 403), ("journal", 404), ("/", 403), ("/", 503)]
)
def test_a_bucket_that_refuses_for_a_while_is_not_empty(
    bucket: str, port: int, monkeypatch: pytest.MonkeyPatch, part: str, status: int
) -> None:
    monkeypatch.setattr("cellkin.store.small_files._RETRIES", 1)
    monkeypatch.setitem(_PATIENCE, "client_max_retries", "1")
    catalog = Store.create(bucket).catalog
    made = [catalog.commit(Kind.CORPUS, "genes", "d", {}) for _ in range(2)]
    catalog.set_alias(made[0], "stable")
    catalog.retract(made[1], "wrong")
    with proxy_before(port, monkeypatch):
        library = VersionCache(Store.open(bucket), 2.0, 8, Metrics(), 1)
        before = library.view
        assert len(before.retractions) == 1
        Careless.refused = part, status
        began = time.monotonic()
        for read in (library.refresh, lambda: Store.open(bucket).catalog.view()):
            with pytest.raises(UnavailableError, match="cannot be read"):
                read()
        assert time.monotonic() - began < 20
        assert library.view is before
        with pytest.raises(UnavailableError):
            library.resolve(Kind.CORPUS, VersionName("other"))
        Careless.refused = None
        library.refresh()
        assert library.view == before


def test_files_of_a_bucket_are_cached_and_checked(bucket: str, tmp_path: Path) -> None:
    store = Store.create(bucket)
    entry = store.publish_index("x", lambda folder: _write(folder / "a"), {})
    folder = store.index_folder(entry)
    assert folder.is_relative_to(tmp_path / "cache")
    assert (folder / "a").read_text() == "content"
    (folder / "a").write_text("damaged in the cache")
    assert (store.index_folder(entry) / "a").read_text() == "content"
    store.files.remove(entry.manifest["path"], lambda found: False)
    shutil.rmtree(folder)
    with pytest.raises(IntegrityError, match="file a is missing; publish it again"):
        store.index_folder(entry)


def _write(path: Path) -> None:
    path.write_text("content")


def test_a_bucket_without_a_store(bucket: str) -> None:
    with pytest.raises(NotFoundError, match="no cellkin store at s3://"):
        Store.open(bucket)
    with pytest.raises(NotFoundError):
        Store.create(bucket).catalog.resolve(Kind.INDEX, VersionName("x"))
