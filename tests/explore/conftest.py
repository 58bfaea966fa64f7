"""A server of a pancreas reference, the pages in front of it, and browsers that use them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import running_server

ROOT = Path(__file__).parents[2]
CELLKIN = Path(sys.executable).with_name("cellkin")
DATA = ROOT.parent / "shared" / "data"
HUMAN, MOUSE = (DATA / "cells" / f"pancreas_{name}_baron.h5ad" for name in ("human", "mouse"))
N_GENES = 3000
"""Genes with a text, for each species: the most variable ones."""
WAIT_MS = 120_000


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium."""
    pytest.importorskip("playwright", reason="needs playwright")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("needs Chromium, such as Debian's package chromium")
    return found


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the index ``pancreas``, its layout and a collection of gene sets.

    CELLKIN_EXPLORER_STORE names a folder that keeps it for the next time.
    """
    if not HUMAN.is_file():
        pytest.skip(f"needs {HUMAN}")
    kept = os.environ.get("CELLKIN_EXPLORER_STORE")
    path = Path(kept) if kept else tmp_path_factory.mktemp("explorer") / "store"
    if not path.exists():
        make_store(path, tmp_path_factory.mktemp("genes"))
    return path


def make_store(store: Path, folder: Path) -> None:
    """Import the genes that vary most, embed their texts, index the cells, and lay them out."""
    chosen = variable_symbols(HUMAN) | variable_symbols(MOUSE)
    info = folder / "gene_info.tsv"
    rows = subprocess.run(
        ["zcat", DATA / "ncbi/gene_info.gz"], check=True, capture_output=True, text=True
    ).stdout.splitlines(keepends=True)
    same = {symbol.upper() for symbol in chosen}
    info.write_text("".join([rows[0], *(r for r in rows if r.split("\t")[2].upper() in same)]))
    for step in (
        ["genes", "import", "--gene-info", info,
         "--gene-summary", DATA / "ncbi/gene_summary.gz",
         "--gene-orthologs", DATA / "ncbi/gene_orthologs.gz"],
        ["genes", "embed"],
        ["cells", "index", HUMAN, "--name", "pancreas", "--label", "cell_type",
         "--batch", "donor"],
        ["cells", "layout", "pancreas"],
        ["genesets", "import", DATA / "genesets/h.all.v7.0.symbols.gmt.gz",
         "--name", "hallmark", "--taxon", "human"],
    ):  # fmt: skip
        subprocess.run([CELLKIN, *map(str, step), "--store", str(store)], check=True)


def variable_symbols(path: Path) -> set[str]:
    """Return the names of the genes whose counts vary most for their mean."""
    import anndata
    import numpy as np

    cells = anndata.read_h5ad(path)
    means = np.asarray(cells.X.mean(axis=0)).ravel()
    squares = np.asarray(cells.X.multiply(cells.X).mean(axis=0)).ravel()
    dispersions = (squares - means**2) / np.maximum(means, 1e-3)
    return set(cells.var_names[np.argsort(-dispersions)[:N_GENES]])


@pytest.fixture(scope="session")
def server(store: Path) -> Iterator[str]:
    """The address of a server of the store."""
    with running_server(store) as (address, _):
        yield address


@contextmanager
def served_pages(server: str, *options: str) -> Iterator[tuple[str, subprocess.Popen[str], Path]]:
    """Run `cellkin explore`; yield its address, the process, and its folder of temporary files."""
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    process = subprocess.Popen(
        [CELLKIN, "explore", "--server", server, "--listen", "127.0.0.1:0", *options],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("exploring "), line
        yield line.rpartition(" at ")[2].strip(), process, folder
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        if process.stdout is not None:
            process.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pages(server: str) -> Iterator[str]:
    """The address of the pages, which also offer the folder of the cells."""
    with served_pages(server, "--files", str(DATA / "cells")) as (address, _, _):
        yield address


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def tab(browser: Any, pages: str) -> Iterator[Any]:
    """A tab that shows the reference; whatever the console tells as an error fails the test."""
    with opened(browser, pages) as page:
        yield page


@contextmanager
def opened(browser: Any, address: str) -> Iterator[Any]:
    """Open a tab of a user of their own, and require that nothing goes wrong in it."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1360, "height": 1000}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.on("pageerror", lambda error: wrong.append(f"error of the page: {error}"))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    page.on("request", lambda request: _require_own(request.url, address, wrong))
    page.goto(f"{address}/?index=pancreas")
    page.get_by_text("Trustworthiness").wait_for()
    try:
        yield page
        assert wrong == [], "\n".join(wrong)
    finally:
        context.close()


def _require_own(url: str, address: str, wrong: list[str]) -> None:
    """Note a request to any other server: pages have to work without the internet."""
    if not url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:")):
        wrong.append(f"asked elsewhere: {url}")


def take_picture(page: Any, name: str) -> None:
    """Write a picture for the documentation, if CELLKIN_PICTURES names its folder."""
    folder = os.environ.get("CELLKIN_PICTURES")
    if not folder:
        return
    from PIL import Image

    page.mouse.move(700, 20)  # nothing is under the pointer
    page.wait_for_timeout(1500)  # what fades in is whole
    picture = Image.open(BytesIO(page.screenshot()))
    few = (
        picture.convert("RGB").resize((1020, 750), Image.Resampling.LANCZOS).quantize(256, kmeans=3)
    )
    few.save(Path(folder) / f"{name}.png", optimize=True)
