"""Tutorials as they run in the build: executed, with their pictures, and as notebooks to download.

Pages are executed in processes of their own while Sphinx reads the others. A page that prints other
than it says stops the build.
"""

import base64
import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging
from tests.tutorials.practice_store import make_practice
from tests.tutorials.runner import (
    DATA,
    FIRST_PAGE,
    PAGES,
    REAL,
    Block,
    commands,
    data_folder,
    run_apart,
)

_PROCESSES = 2
_log = logging.getLogger(__name__)
_Ran = Future[tuple[list[Block], list[str]]]


def start(app: Sphinx) -> None:
    """Start executing the tutorials."""
    app.cellkin_ran = Future()
    if not app.config.cellkin_run_tutorials:
        app.cellkin_ran.set_result({})
        return
    scratch = tempfile.TemporaryDirectory(prefix="cellkin-docs-")
    pool = ProcessPoolExecutor(_PROCESSES, get_context("spawn"))
    waiter = ThreadPoolExecutor(1)
    app.cellkin_ran = waiter.submit(execute_all, Path(scratch.name), pool)
    app.cellkin_ends = (waiter.shutdown, pool.shutdown, scratch.cleanup)


def end(app: Sphinx, _: Exception | None) -> None:
    """Remove what the tutorials left."""
    for each in getattr(app, "cellkin_ends", ()):
        each()


def execute_all(scratch: Path, pool: ProcessPoolExecutor) -> dict[str, _Ran]:
    """Start executing the pages whose data are there, the longest first: that of real cells."""
    ran: dict[str, _Ran] = {}
    for path in PAGES:
        if path.stem in REAL and data_folder().is_dir():
            ran[path.stem] = pool.submit(run_apart, path, scratch, None)
        elif path.stem in REAL:
            _log.info("NOT executed, as %s names no folder of data: %s", DATA, path.name)
    made = scratch / "practice"
    pool.submit(make_practice, made).result()
    for path in (FIRST_PAGE, *PAGES):
        if path.stem not in REAL:
            ran[path.stem] = pool.submit(run_apart, path, scratch, made)
    return ran


def is_executed(page: str) -> bool:
    """Tell whether a page is a tutorial."""
    return page == FIRST_PAGE.stem or (page.startswith("tutorials/") and page[-6:] != "README")


def read_last(_: Sphinx, __: Any, pages: list[str]) -> None:
    """Read the tutorials last, as they are being executed meanwhile."""
    pages.sort(key=is_executed)


def put_in(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what a tutorial printed and drew just now into its page."""
    name = page.rpartition("/")[2]
    if not is_executed(page) or name not in (ran := app.cellkin_ran.result()):
        return
    blocks, differences = ran[name].result()
    if differences:
        raise ExtensionError("\n\n".join([f"{page} prints otherwise than it says", *differences]))
    made = Path(app.srcdir) / "_build" / "tutorials"
    made.mkdir(parents=True, exist_ok=True)
    (made / f"{name}.ipynb").write_text(json.dumps(notebook(blocks), indent=1))
    made_from = "../" * page.count("/") + "_build/tutorials"
    number, parts = count(1), []
    for block in blocks:
        parts.append(str(block))
        for picture in block.pictures:
            file = made / f"{name}-{next(number)}.png"
            file.write_bytes(picture)
            parts.append(f"\n![What the code above draws]({made_from}/{file.name})\n")
    download = f"{{download}}`as a notebook <{made_from}/{name}.ipynb>`"
    title, _, rest = "".join(parts).partition("\n")
    source[0] = f"{title}\n\n*Executed when these pages were built; {download}.*\n{rest}"


def notebook(blocks: list[Block]) -> dict[str, Any]:
    """Return a page as a Jupyter notebook with its outputs."""
    cells = [made for block in blocks for made in _cells(block)]
    return {
        "cells": [{"id": f"cell-{at}", **cell} for at, cell in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cells(block: Block) -> list[dict[str, Any]]:
    if block.language == "markdown":
        text = block.source.strip()
        return [{"cell_type": "markdown", "metadata": {}, "source": text}] if text else []
    if block.language == "python":
        return [_code(block.source.rstrip(), block.printed, block.pictures)]
    return [_code(shell(line), printed) for line, printed in commands(block.source)]


def shell(line: str) -> str:
    """Return a command as a notebook runs it; a server in the background."""
    words = line.removesuffix("&").rstrip()
    return f"!{line}" if words == line else f"%%script --bg sh\n{words}"


def _code(source: str, printed: str, pictures: Sequence[bytes] = ()) -> dict[str, Any]:
    outputs: list[dict[str, Any]] = []
    if printed:
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed})
    for picture in pictures:
        data = {"image/png": base64.b64encode(picture).decode()}
        outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "source": source,
        "outputs": outputs,
    }
