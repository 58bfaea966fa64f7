"""`cellkin mcp`, asked by the protocol's own client: in process, and over standard input."""

import asyncio
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client as Agent
from mcp import StdioServerParameters, stdio_client
from tests.integration.conftest import CELLKIN
from tests.integration.live import live_server

from cellkin.cli.folder import Files
from cellkin.cli.main import main
from cellkin.client import Client
from cellkin.mcp.server import make_server

pytestmark = pytest.mark.integration
Ask = Callable[..., Any]
QUERY = {"path": "query.h5ad", "index": "trio"}


@pytest.fixture(scope="module")
def folder(query_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one file of 60 cells."""
    path = tmp_path_factory.mktemp("files")
    shutil.copy(query_path, path / "query.h5ad")
    return path


@pytest.fixture(scope="module")
def address(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that knows three tokens."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    limits = {"ana": "", "few": "requests=1", "old": "expires=2026-01-01"}
    lines = [
        f"{name} read sha256:{hashlib.sha256(name.encode()).hexdigest()} {limit}\n"
        for name, limit in limits.items()
    ]
    tokens.write_text("".join(lines))
    with live_server(store_path, tokens=tokens) as live:
        yield live.address


@pytest.fixture(scope="module")
def ask(address: str, folder: Path) -> Ask:
    """Calls a tool in process; returns its answer, or the text of its refusal."""

    def ask(tool: str, token: str = "ana", **given: Any) -> Any:
        async def call() -> Any:
            async with Agent(make_server(client, Files(folder))) as agent:
                return answer_of(await agent.call_tool(tool, given))

        with Client(address, token=token, attempts=1) as client:
            return asyncio.run(call())

    return ask


def answer_of(result: Any) -> Any:
    if result.is_error:
        return result.content[0].text
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content


def test_an_index_is_found_and_described(ask: Ask) -> None:
    catalog = ask("list_catalog")
    (index,) = catalog["indexes"]
    assert (index["n_cells"], index["n_labels"]) == (150, 3)
    assert catalog["embeddings"][0]["name"] == "random-64-7"
    assert catalog["collections"] == []
    told = ask("describe_index", index=index["name"])
    assert told["label_counts"] == {"alpha": 50, "beta": 50, "delta": 50}
    assert told["control_embedding"], "vectors that mean nothing are said to be so"


def test_genes_are_resolved_and_have_neighbors(ask: Ask) -> None:
    found = ask("resolve_genes", names=["GENE7", "SHARED", "nothing"], taxon="human", index="trio")
    assert [gene["gene_id"] for gene in found["genes"]] == [7, 0, 0]
    assert found["ambiguous"] == {"SHARED": [1, 2]}
    near = ask("search_genes", names=["GENE7"], k=3, embedding="random-64-7")
    assert len(near["neighbors"]) == 3
    assert "no evidence" in near["caution"]
    assert near["versions"]["embedding"].startswith("random-64-7@")


def test_cells_are_labeled_as_by_the_command(
    ask: Ask,
    address: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = ask("label_file", **QUERY, cells=["cell2-1"], clusters="donor")
    (cell,) = answer.pop("cells")
    assert (cell["cell_id"], cell["label"]) == ("cell2-1", "beta")
    monkeypatch.setenv("CELLKIN_ADDRESS", address)
    monkeypatch.setenv("CELLKIN_TOKEN", "ana")
    words = ["annotate", str(folder / "query.h5ad"), "--index", "trio", "--clusters", "donor"]
    assert main([*words, "--json"]) == 0
    said = capsys.readouterr().out  # of the server in the process too
    assert answer == json.loads(said[said.index("{\n") :])


def test_groups_of_cells_are_compared(ask: Ask) -> None:
    found = ask(
        "contrast_subtypes", index="trio", a=["alpha"], path="query.h5ad", groups="cell_type",
        n_genes=3,
    )  # fmt: skip
    assert len(found["genes"]) == 6
    assert {int(gene["gene_id"]) for gene in found["genes"][:3]} <= set(range(1, 41))
    assert found["genes"][0]["statistic"] > 0 > found["genes"][-1]["statistic"]


@pytest.mark.parametrize(
    ("tool", "given", "told"),
    [
        ("describe_index", {"index": "nothing"}, "NOT_FOUND"),
        ("describe_index", {}, "Field required"),
        ("search_genes", {}, "nothing given to search for"),
        ("search_genes", {"names": ["GENE7"], "k": 5000}, "INVALID_ARGUMENT"),
        ("label_file", QUERY | {"path": "../query.h5ad"}, "PERMISSION_DENIED"),
        ("label_file", QUERY | {"path": "/etc/passwd"}, "PERMISSION_DENIED"),
        ("label_file", QUERY | {"path": "other.h5ad"}, "there are: query.h5ad"),
        ("label_file", QUERY | {"cells": ["nobody"]}, "has no cell 'nobody'"),
        ("label_file", QUERY | {"layer": "spliced"}, "spliced"),
        ("label_file", QUERY | {"token": "old"}, "UNAUTHENTICATED"),
        ("list_catalog", {"token": "few"}, "1 requests a minute"),
        ("contrast_subtypes", {"index": "trio", "a": ["alpha"], "groups": "x"}, "give the path"),
        ("set_alias", {"version": "trio"}, "set_alias"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(ask: Ask, tool: str, given: dict[str, Any], told: str) -> None:
    refused = ask(tool, **given)
    assert isinstance(refused, str)
    assert told in refused


def test_progress_is_told_and_a_tool_ends_when_it_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, ended = list[float](), threading.Event()

    def endless(*_: Any, progress: Callable[[int, int], None], **__: Any) -> None:
        try:
            while True:
                progress(30, 60)
                time.sleep(0.01)
        finally:
            ended.set()

    async def tell(done: float, total: float | None, message: str | None) -> None:
        told.append(done)

    async def call() -> None:
        server = make_server(Client("127.0.0.1:9"), Files(folder))
        async with Agent(server) as agent:
            with anyio.move_on_after(30) as waiting:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(
                        partial(agent.call_tool, "label_file", QUERY, progress_callback=tell)
                    )
                    while not told:
                        await anyio.sleep(0.01)
                    tasks.cancel_scope.cancel()
            assert not waiting.cancelled_caught

    monkeypatch.setattr("cellkin.client.annotate.annotate_file", endless)
    asyncio.run(call())
    assert told[0] == 30
    assert ended.wait(30)


def test_it_is_served_over_standard_input(address: str, folder: Path) -> None:
    parameters = StdioServerParameters(
        command=str(CELLKIN),
        args=["mcp", "--files", str(folder), "--server", address],
        env={"CELLKIN_TOKEN": "ana"},
    )

    async def session() -> tuple[Any, Any, Any]:
        async with Agent(stdio_client(parameters)) as agent:
            return (
                await agent.list_tools(),
                answer_of(await agent.call_tool("label_file", QUERY)),
                answer_of(await agent.call_tool("label_file", QUERY | {"path": "/etc/passwd"})),
            )

    listed, labels, refused = asyncio.run(session())
    assert len(listed.tools) == 6
    for tool in listed.tools:
        assert tool.annotations.read_only_hint
        assert tool.description
    assert sum(labels["label_counts"].values()) == 60
    assert "PERMISSION_DENIED" in refused


def test_a_folder_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mcp", "--files", str(tmp_path / "absent")]) == 2
    assert "absent is no folder" in capsys.readouterr().err
