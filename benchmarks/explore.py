"""The pages of `cellkin explore`: a map of a million cells, and ten users at once.

The map is of a drawn reference that a server of this script sends as a real one does; Chromium
opens it, and zooms. Then ten users, each with a tab and a file of their own, label them at once by
a reference of the pancreas: what each downloads is compared with what `cellkin annotate` writes.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from report import Figure, add_options, at_least, at_most, finish, machine

from cellkin.v1 import (
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    cell_service_pb2,
    cell_service_pb2_grpc,
    versions_pb2,
)
from cellkin.wire import codec

CELLKIN = Path(sys.executable).with_name("cellkin")
HUMAN = Path(__file__).resolve().parents[2] / "shared/data/cells/pancreas_human_baron.h5ad"
N_CELLS, N_LABELS = 1_000_000, 46
PAGE = 250_000
N_USERS = 10
N_OPENED, N_ZOOMS = 3, 6
WAIT_MS = 300_000
_PLACE = """() => {
    for (const at of Bokeh.documents)
        for (const model of at._all_models.values())
            if (model.type === 'ColumnDataSource' && model.data.image && model.data.image.length)
                return model.data.dw[0]
    return null
}"""
"""Returns how much of the plane the picture of the map shows, in the browser; null without one."""


def main() -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=N_CELLS, help="cells of the drawn reference")
    parser.add_argument("--users", type=int, default=N_USERS)
    add_options(parser)
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("skipped: needs Chromium, such as Debian's package chromium")
        return 0
    from playwright.sync_api import sync_playwright

    figures: list[Figure] = []
    notes = [*machine("panel", "bokeh", "numpy"), "one explorer and Chromium on the same cores"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        figures += a_map(browser, arguments.cells)
        if HUMAN.is_file():
            figures += users(browser, arguments.users)
        else:
            notes.append(f"users: skipped, the cells are not at {HUMAN}")
        browser.close()
    return finish(arguments, "explore", "Pages in the browser", notes, figures)


def a_map(browser: Any, n_cells: int) -> Iterator[Figure]:
    """Open the map of a drawn reference, and zoom."""
    with drawn_server(n_cells) as server, explorer(server) as (address, process, _):
        opened, zoomed = [], []
        for _ in range(N_OPENED):
            page = browser.new_context(viewport={"width": 1360, "height": 1000}).new_page()
            page.set_default_timeout(WAIT_MS)
            page.goto(address, wait_until="load")
            start_s = time.perf_counter()
            page.wait_for_function(f"() => ({_PLACE})() !== null", polling=20)
            opened.append(time.perf_counter() - start_s)
            page.wait_for_timeout(1000)
            zoomed += list(zooms(page))
            page.context.close()
        yield at_most("map, first picture after load, first user", opened[0], "s", 3.0)
        later = statistics.median(opened[1:])
        yield at_most("map, first picture after load, later users", later, "s", 3.0)
        yield at_most("map, zoom, median", statistics.median(zoomed), "s", 1.0)
        yield at_most("map, zoom, longest", max(zoomed), "s", 1.0)
        yield Figure("map, largest memory of the explorer", peak_mb(process.pid), "MB")


def zooms(page: Any) -> Iterator[float]:
    """Zoom in step by step, and yield the seconds until the new picture is there."""
    box = page.locator(".bk-Figure:visible").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for _ in range(N_ZOOMS):
        before = page.evaluate(_PLACE)
        start_s = time.perf_counter()
        page.mouse.wheel(0, -120)
        page.wait_for_function(f"before => ({_PLACE})() !== before", arg=before, polling=10)
        yield time.perf_counter() - start_s
        page.wait_for_timeout(700)


def users(browser: Any, n_users: int) -> Iterator[Figure]:
    """Let users label a file each at once; compare what they get, and what is left of them."""
    with tempfile.TemporaryDirectory() as folder:
        files = list(parts(Path(folder), n_users))
        store = Path(folder) / "store"
        run("cells", "index", HUMAN, "--label", "cell_type", "--batch", "donor", "--name",
            "pancreas", "--space", "expression", "--quick", "--store", store)  # fmt: skip
        with served(store) as server, explorer(server) as (address, process, kept):
            pages = [browser.new_context(accept_downloads=True).new_page() for _ in files]
            for page in pages:
                page.set_default_timeout(WAIT_MS)
                page.goto(address)
                page.get_by_role("tab", name="Label a file").click()
            before = rss_mb(process.pid)
            start_s = time.perf_counter()
            for page, file in zip(pages, files, strict=True):
                page.locator("input[type=file]").set_input_files(file)
                page.wait_for_timeout(300)
                page.get_by_role("button", name="Label cells").click()
            right = 0
            for page, file in zip(pages, files, strict=True):
                link = page.get_by_role("link", name=f"{file.stem}.labels.csv")
                with page.expect_download() as waiting:
                    link.click()
                right += Path(waiting.value.path()).read_bytes() == expected(file, server)
            taken_s = time.perf_counter() - start_s
            held = rss_mb(process.pid)
            for page in pages:
                page.context.close()
            yield at_least("users who got their own labels, exactly", right, "", n_users)
            yield Figure("seconds until all had them", taken_s, "s")
            yield Figure("memory of the explorer, with all tabs open", before, "MB")
            yield at_most(
                "memory that the labels of a user add", (held - before) / n_users, "MB", 50
            )
            yield at_most("files left a minute after all tabs were closed", left(kept), "", 0)


def left(folder: Path) -> int:
    """Return the number of files of sessions, once there are none or a minute has passed."""
    found = 0
    for _ in range(60):
        found = sum(path.is_file() for path in folder.rglob("*"))
        if not found:
            return 0
        time.sleep(1)
    return found


def parts(folder: Path, n: int) -> Iterator[Path]:
    """Write a file of other cells, by other names, for each user."""
    import anndata

    whole = anndata.read_h5ad(HUMAN)
    for user in range(n):
        part = whole[user::n].copy()
        part.obs_names = [f"user{user}-{name}" for name in part.obs_names]
        path = folder / f"user{user}.h5ad"
        part.write_h5ad(path)
        yield path


def expected(file: Path, server: str) -> bytes:
    """Return what `cellkin annotate` writes of a file."""
    target = file.with_suffix(".csv")
    run("annotate", file, "--index", "pancreas", "--server", server, "-o", target)
    return target.read_bytes()


def run(*given: Any) -> None:
    """Run a command of cellkin."""
    subprocess.run([CELLKIN, *map(str, given)], check=True, capture_output=True)


@contextmanager
def started(command: Sequence[Any], first: str, folder: Path) -> Iterator[tuple[str, Any]]:
    """Run a command until the block ends; yield what its first line ends with."""
    process = subprocess.Popen(
        [CELLKIN, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(first), line
        yield line.split()[-1], process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


@contextmanager
def served(store: Path) -> Iterator[str]:
    """Serve a store; yield the address."""
    command = ("serve", "--store", store, "--listen", "127.0.0.1:0")
    with tempfile.TemporaryDirectory() as folder, started(command, "serving", Path(folder)) as (
        address, _,
    ):  # fmt: skip
        yield address


@contextmanager
def explorer(server: str) -> Iterator[tuple[str, Any, Path]]:
    """Run the pages; yield their address, the process and the folder of its temporary files."""
    command = ("explore", "--server", server, "--listen", "127.0.0.1:0")
    with tempfile.TemporaryDirectory() as folder, started(command, "exploring", Path(folder)) as (
        address, process,
    ):  # fmt: skip
        yield address, process, Path(folder)


@contextmanager
def drawn_server(n_cells: int) -> Iterator[str]:
    """Serve a drawn layout."""
    server = grpc.server(
        futures.ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)]
    )
    catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(
        Catalog(n_cells),
        server,  # type: ignore[abstract]
    )
    cell_service_pb2_grpc.add_CellServiceServicer_to_server(
        Cells(n_cells),
        server,  # type: ignore[abstract]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


class Catalog(catalog_service_pb2_grpc.CatalogServiceServicer):
    """A catalog of one index."""

    def __init__(self, n_cells: int) -> None:
        self._n_cells = n_cells

    def ListCellIndexes(self, request: Any, context: Any) -> Any:
        """List the index."""
        index = catalog_service_pb2.CellIndex(
            name="drawn@2026-01-01.1", n_cells=self._n_cells, labels=names("label", N_LABELS),
            label_counts=[self._n_cells // N_LABELS] * N_LABELS,
        )  # fmt: skip
        return catalog_service_pb2.ListCellIndexesResponse(cell_indexes=[index])

    def ListAliases(self, request: Any, context: Any) -> Any:
        """List no alias."""
        return catalog_service_pb2.ListAliasesResponse()


class Cells(cell_service_pb2_grpc.CellServiceServicer):
    """The layout of drawn cells."""

    def __init__(self, n_cells: int) -> None:
        rng = np.random.default_rng(0)
        self._labels = rng.integers(0, N_LABELS, n_cells).astype(np.int32)
        centers = rng.normal(size=(N_LABELS, 2)) * 8
        spread = rng.normal(size=(n_cells, 2))
        self._positions = (centers[self._labels] + spread).astype(np.float32)
        self._batches = rng.integers(0, 10, n_cells).astype(np.int32)
        self._same = rng.integers(0, 16, n_cells).astype(np.uint8)

    def GetLayout(self, request: Any, context: Any) -> Any:
        """Return a page of the layout."""
        first = int(request.page_token or 0)
        here, after = slice(first, first + PAGE), first + PAGE
        return cell_service_pb2.GetLayoutResponse(
            versions=versions_pb2.Versions(index="drawn@2026-01-01.1"),
            certificate=cell_service_pb2.LayoutCertificate(
                method="drawn", library="numpy", n_cells=len(self._labels), k=15
            ),
            labels=names("label", N_LABELS),
            batches=names("donor", 10),
            first_row=first,
            positions=codec.encode(self._positions[here]),
            label_codes=codec.encode(self._labels[here]),
            batch_codes=codec.encode(self._batches[here]),
            n_same=codec.encode(self._same[here]),
            next_page_token=str(after) if after < len(self._labels) else "",
        )


def names(what: str, n: int) -> list[str]:
    """Return n names in ascending order."""
    return [f"{what} {at:02d}" for at in range(n)]


def peak_mb(pid: int) -> float:
    """Return the largest memory that a process had."""
    return _memory_mb(pid, "VmHWM")


def rss_mb(pid: int) -> float:
    """Return the memory that a process has."""
    return _memory_mb(pid, "VmRSS")


def _memory_mb(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return float(line.split()[1]) / 1024
    raise LookupError(field)


if __name__ == "__main__":
    sys.exit(main())
