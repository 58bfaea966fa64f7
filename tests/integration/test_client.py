"""One core, two clients: every request, what they refuse, where they connect."""

import asyncio
import inspect
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from tests.integration.live import GENES, Live, live_server

from cellkin.client import AsyncClient, CellFilter, Client
from cellkin.client.surface import Surface
from cellkin.client.transport.core import Method
from cellkin.client.transport.profile import Endpoint, find_endpoint
from cellkin.client.transport.tls import Tls
from cellkin.store.catalog import Kind
from cellkin.store.store import Store
from cellkin.v1 import catalog_service_pb2, cell_service_pb2, gene_service_pb2, gene_set_service_pb2
from cellkin.wire.errors import (
    DeadlineExceededError,
    InputFileError,
    InvalidArgumentError,
    MissingDependencyError,
    NotFoundError,
    VersionMismatchError,
)
from cellkin.wire.names import VersionName
from cellkin.wire.terms import ExpressionUnits, VersionKind

pytestmark = pytest.mark.integration
LINEAR = ExpressionUnits.LINEAR


def test_every_request_of_every_service_is_a_method_of_both_clients() -> None:
    services = (catalog_service_pb2, cell_service_pb2, gene_service_pb2, gene_set_service_pb2)
    names = {
        "".join(f"_{c.lower()}" if c.isupper() else c for c in method.name).lstrip("_")
        for service in services
        for descriptor in service.DESCRIPTOR.services_by_name.values()
        for method in descriptor.methods
    }
    methods = {name for name, value in vars(Surface).items() if isinstance(value, Method)}
    assert methods == names
    for name in methods:
        assert inspect.signature(getattr(Client, name)).parameters is not None
        assert inspect.getdoc(getattr(Client, name))
        assert getattr(Client, name) is getattr(AsyncClient, name)
    assert Client.search_genes.__name__ == "search_genes"


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[Client]:
    with Client(live.address) as client:
        yield client


@pytest.fixture(scope="module")
def index(client: Client) -> str:
    return client.get_cell_index("trio").name


def other_version(name: str) -> str:
    return name.partition("@")[0] + "@2001-01-01.1"


def test_answers_of_another_version_than_is_pinned_are_refused(client: Client, index: str) -> None:
    pinned = client.using(pins={"index": index})
    assert pinned.get_cells("trio", ["cell1-1"]).versions.index == index
    other = client.using(pins={"index": other_version(index)})
    with pytest.raises(VersionMismatchError, match="is pinned; ask for") as caught:
        other.get_cells("trio", ["cell1-1"])
    assert caught.value.metadata == {
        "kind": "index", "pinned": other_version(index), "answered": index,
    }  # fmt: skip
    with pytest.raises(VersionMismatchError):
        other.stream_predict_subtypes("trio", GENES, [], units=LINEAR)
    # What the pin says nothing of is answered.
    assert other.get_gene("GENE5", taxon=9606).gene_id == 5
    with pytest.raises(InvalidArgumentError, match="may come to mean another version"):
        client.using(pins={"index": "trio"})
    with pytest.raises(InvalidArgumentError, match="pin 'server' is none; give any of index"):
        client.using(pins={"server": "1"})

    async def refused() -> None:
        async with AsyncClient(client._rules.endpoint.address, pins=other._rules.pins) as ours:
            await ours.get_cells("trio", ["cell1-1"])

    with pytest.raises(VersionMismatchError):
        asyncio.run(refused())


def test_a_call_has_a_deadline_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with Client(address, attempts=1) as client, pytest.raises(DeadlineExceededError):
            client.using(timeout_s=0.2).get_gene("INS")


def test_lists_run_over_pages(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cellkin.client.calls.messages._PAGE", 1)

    async def awaited(address: str) -> list[str]:
        async with AsyncClient(address) as client:
            return [alias.name async for alias in client.list_aliases()]

    with live_server(own_store) as live, Client(live.address) as client:
        for alias in ("stable", "a", "b"):
            set_ = client.set_alias(VersionKind.INDEX, "trio", alias)
            assert (set_.kind, set_.name) == (VersionKind.INDEX, f"trio@{alias}")
        names = [alias.name for alias in client.list_aliases()]
        assert names == ["trio@a", "trio@b", "trio@stable"]
        assert asyncio.run(awaited(live.address)) == names
        catalog = Store.open(str(own_store)).catalog
        served = catalog.resolve(Kind.INDEX, VersionName("trio"))
        version = catalog.commit(Kind.INDEX, "trio", served.digest, served.manifest).full_name
        gone = client.retract_version(VersionKind.INDEX, version, "wrong labels")
        assert (gone.version, gone.retraction.reason) == (version, "wrong labels")
        retraction = client.get_cell_index(version).retraction
        assert retraction is not None
        assert retraction.reason == "wrong labels"
        assert client.reload().refused == {}


def test_results_are_tables(client: Client) -> None:
    found = client.search_genes("GENE5", taxon=9606, embedding="random:64:7", k=3)
    frame, table = found.to_pandas(), found.to_arrow()
    assert list(frame["symbol"]) == [hit.symbol for hit in found.hits]
    assert table.num_rows == 3
    assert table.column_names == list(frame.columns)
    cells = client.get_cells("trio", ["cell1-3", "cell1-0"], return_vectors=True)
    hits = client.search_cells(
        "trio", cells.vectors, k=2, filters=[CellFilter("label", ["alpha"])]
    ).hits
    frame = hits.to_pandas()
    assert list(frame["query"]) == [0, 0, 1, 1]
    assert list(frame["rank"]) == [1, 2, 1, 2]
    assert list(frame["cell_id"][::2]) == ["cell1-3", "cell1-0"]
    assert set(frame["label"]) == {"alpha"}
    resolved = client.resolve_genes(["GENE5", "nope"], index="trio").to_pandas()
    assert list(resolved["route"]) == ["symbol", "unmatched"]
    assert client.get_cell_index("trio").to_pandas()["n_cells"].sum() == 150


def test_a_library_that_is_missing_is_named(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'cellkin-client\[pandas\]'"):
        client.get_cells("trio", ["cell1-1"]).to_pandas()


def test_the_tools_say_which_extra_they_need() -> None:
    code = (
        "import sys; sys.modules['anndata'] = None\n"
        "import cellkin.client as ck\n"
        "try: ck.tl\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cellkin.client.tl needs anndata, which is not installed" in done.stdout
    assert "pip install 'cellkin-client[anndata]'" in done.stdout


def test_both_clients_read_blocks_as_answers_come(live: Live) -> None:
    taken = 0

    def reading() -> Iterator[sp.csr_matrix]:
        nonlocal taken
        for _ in range(30):
            taken += 1
            yield sp.csr_matrix(np.ones((1, 120), np.float32))

    async def awaited() -> None:
        nonlocal taken

        async def slowly() -> AsyncIterator[sp.csr_matrix]:
            for block in reading():
                yield block

        async with AsyncClient(live.address) as client:
            for blocks in (reading, slowly):
                taken = 0
                _, answers = await client.stream_predict_subtypes(
                    "trio", GENES, blocks(), units=LINEAR
                )
                assert taken == 0
                await anext(answers)
                assert 0 < taken < 10
                assert len([part async for part in answers]) == 29

    asyncio.run(awaited())

    async def empty() -> AsyncIterator[Any]:
        return
        yield

    with Client(live.address) as client, pytest.raises(InvalidArgumentError, match="AsyncClient"):
        client.stream_predict_subtypes("trio", GENES, empty(), units=LINEAR)


def test_errors_of_a_stream_come_awaited_too(live: Live) -> None:
    bad = sp.csr_matrix(np.full((1, 120), -1, np.float32))
    good = sp.csr_matrix(np.ones((1, 120), np.float32))

    async def awaited() -> None:
        async with AsyncClient(live.address) as client:
            with pytest.raises(NotFoundError, match="no cell index 'nope'"):
                await client.stream_predict_subtypes("nope", GENES, [good], units=LINEAR)
            _, answers = await client.stream_predict_subtypes(
                "trio", GENES, [good, bad, good], units=LINEAR
            )
            with pytest.raises(InvalidArgumentError, match="finite and not negative"):
                _ = [part async for part in answers]
            # One that is left in the middle disturbs no other.
            _, answers = await client.stream_predict_subtypes(
                "trio", GENES, [good] * 20, units=LINEAR
            )
            await anext(answers)
            await answers.aclose()
            alone = await client.predict_subtypes("trio", GENES, good, units=LINEAR)
            assert len(alone.to_pandas()) == 1

    asyncio.run(awaited())


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda c: c.search_genes(), "nothing given to search for"),
        (lambda c: c.search_genes("INS", text="a hormone"), "text and gene given to search for"),
        (lambda c: c.resolve_genes(["INS"], corpus="a", index="b"), "give one of them"),
        (
            lambda c: c.predict_subtypes("trio", GENES, np.ones((1, 120)), units=LINEAR),
            "cells are given as ndarray; give a CSR matrix",
        ),
        (
            lambda c: c.predict_subtypes("t", GENES, None, units=LINEAR, space="image"),
            "space is 'image'; give 'text' or 'expression'",
        ),
    ],
)
def test_requests_that_are_not_even_sent(
    client: Client, ask: Callable[[Client], object], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        ask(client)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration folder, and an environment that says nothing."""
    for name in ("ADDRESS", "TOKEN", "PROFILE", "TLS_CA", "TLS_CERT", "TLS_KEY"):
        monkeypatch.delenv(f"CELLKIN_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "cellkin").mkdir()
    return tmp_path / "cellkin/client.toml"


def test_where_the_server_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_endpoint() == Endpoint("127.0.0.1:50051")
    (home.parent / "token").write_text("secret\n")
    home.write_text(
        f'[default]\naddress = "here:1"\n[lab]\naddress = "lab:2"\ntls_ca = "system"\n'
        f'token_file = "{home.parent / "token"}"\n'
    )
    lab = Endpoint("lab:2", "secret", Tls())
    assert find_endpoint() == Endpoint("here:1")
    assert find_endpoint("lab") == lab
    monkeypatch.setenv("CELLKIN_PROFILE", "lab")
    assert find_endpoint() == lab
    monkeypatch.setenv("CELLKIN_ADDRESS", "there:3")
    monkeypatch.setenv("CELLKIN_TLS_CA", "ca.pem")
    monkeypatch.setenv("CELLKIN_TOKEN", "other")
    assert find_endpoint() == Endpoint("there:3", "other", Tls(Path("ca.pem")))
    assert find_endpoint("lab") == lab
    # Neither the environment's token nor a profile's is shown to a server given by name.
    with Client("127.0.0.1:9") as client:
        assert client._rules.metadata == ()


@pytest.mark.parametrize(
    ("text", "profile", "error", "message"),
    [
        ('[lab]\naddress = "a:1"', "home", NotFoundError, "no profile 'home' in .*it has: lab"),
        ('[lab]\nserver = "a:1"', "lab", InvalidArgumentError, "has server; give any of address"),
        ("[lab]", "lab", InvalidArgumentError, "has no address"),
        ("[lab", "lab", InputFileError, "cannot be read"),
        ("[lab]\naddress = 1", "lab", InputFileError, "a table of strings"),
        ('[lab]\naddress = "a:1"\ntoken_file = "/none"', "lab", InputFileError, "token file /none"),
    ],
)
def test_profiles_that_are_refused(
    home: Path, text: str, profile: str, error: type[Exception], message: str
) -> None:
    home.write_text(text)
    with pytest.raises(error, match=message):
        Client(profile=profile)


@pytest.mark.parametrize("address", ["http://cells.example.org", "HTTPS://x:443", "a b:1", "?", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidArgumentError, match="give HOST:PORT"):
        Endpoint(address)
