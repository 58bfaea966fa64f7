"""Runs the tutorials: what their blocks print must be what the page says.

A block of Python is executed, all of a page in one namespace; the block of text after it is what it
prints. In a block of console every ``$ `` line is a command and what follows is what it prints to
standard output; ``&`` starts a server and waits until it says where it serves. ``...`` stands for
anything, dates of versions for any date, and white space does not count.

Pages of real cells find them by links to a folder of data that ``CELLKIN_TUTORIAL_DATA`` names.

To write what is printed into the pages: python -m tests.tutorials.runner docs/tutorials/*.md
"""

import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellkin.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("[0-9]-*.md"))
FIRST_PAGE = ROOT / "docs" / "five-minutes.md"
"""Runs on the same practice data."""
BLOCK = re.compile(r"^```(python|console|text)\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
DATE = re.compile(r"@\d{4}-\d\d-\d\d\.")
SERVER_END_S = 20
REAL = {
    "6-genes-and-pathways": {
        "gene_info.gz": "ncbi/gene_info.gz",
        "gene_summary.gz": "ncbi/gene_summary.gz",
        "go-bp.gmt.gz": "genesets/GO_Biological_Process_2021.human.gmt.gz",
        "retina.h5ad": "cells/retina_human_voigt_periphery_d1_d2.h5ad",
    }
}
"""Files of the pages of real cells, by page and name, in the folder of data."""
DATA = "CELLKIN_TUTORIAL_DATA"
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass
class Block:
    """A piece of a page: prose, or a block of code with what it printed.

    Parameters
    ----------
    language
        ``markdown``, ``python``, ``console``, or ``text`` that no Python stands before.
    source
        The prose or the code; of a console block the commands with what they printed.
    printed
        What the Python printed.
    pictures
        PNG files of the figures that the Python drew.
    """

    language: str
    source: str
    printed: str = ""
    pictures: list[bytes] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the piece as it stands in a page."""
        if self.language == "markdown":
            return self.source
        shown = f"```{self.language}\n{self.source}```\n"
        return f"{shown}\n```text\n{self.printed}```\n" if self.printed else shown


@dataclass
class Page:
    """A tutorial as it is run.

    Parameters
    ----------
    text
        The page.
    servers
        Ends the servers that the page started.
    namespace
        What its Python blocks have defined so far.
    blocks
        The pieces of the page that ran, with what they print now.
    differences
        What was printed otherwise than the page says.
    """

    text: str
    servers: ExitStack
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "tutorial"})
    blocks: list[Block] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Run all blocks in the working folder."""
        end = 0
        for block, start, stop in pieces(self.text):
            if start > end:
                self.blocks.append(Block("markdown", self.text[end:start]))
            if block.language == "python":
                wanted, block.printed = block.printed, self._python(block.source)
                block.pictures = list(drawn())
                self._compare(block.source, wanted, block.printed)
                if same(wanted, block.printed):
                    block.printed = wanted
            elif block.language == "console":
                block.source = "".join(map(self._console, commands(block.source)))
            else:
                self._compare("no Python before it", block.source, "")
            self.blocks.append(block)
            end = stop
        self.blocks.append(Block("markdown", self.text[end:]))

    def _python(self, body: str) -> str:
        with redirect_stdout(io.StringIO()) as printed, redirect_stderr(io.StringIO()):
            exec(compile(body, "tutorial", "exec"), self.namespace)
        return printed.getvalue()

    def _console(self, of: tuple[str, str]) -> str:
        line, wanted = of
        words = shlex.split(line.replace("\\\n", " "))
        assert words[0] == "cellkin", f"only cellkin is run: {line}"
        if words[-1] == "&":
            printed = self.serve(words[1:-1])
        else:
            with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as log:
                code = main(words[1:])
            printed = out.getvalue()
            if code:
                printed += "".join(
                    line for line in log.getvalue().splitlines(True) if line.startswith("error: ")
                )
        self._compare(line, wanted, printed)
        return f"$ {line}\n" + (wanted if same(wanted, printed) else printed)

    def serve(self, words: list[str]) -> str:
        """Start a server; returns what it says, with the usual address."""
        command = [
            str(Path(sys.executable).with_name("cellkin")),
            *words,
            "--listen",
            "127.0.0.1:0",
        ]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.servers.callback(server.wait, SERVER_END_S)
        self.servers.callback(server.terminate)
        assert server.stdout is not None
        self.servers.callback(server.stdout.close)
        said: str = server.stdout.readline()
        address = said.removeprefix("serving on ").strip()
        os.environ["CELLKIN_ADDRESS"] = address
        return said.replace(address, "127.0.0.1:50051")

    def _compare(self, what: str, wanted: str, printed: str) -> None:
        if not same(wanted, printed):
            self.differences.append(f"{what}\nshould print\n{wanted}\nand prints\n{printed}")


def pieces(text: str) -> Iterator[tuple[Block, int, int]]:
    """Yield the blocks of a page with their ends, Python with what it should print."""
    end = 0
    for match in BLOCK.finditer(text):
        if match.start() < end:
            continue
        block, end = Block(match[1], match[2]), match.end()
        follows = BLOCK.match(text, end + 1) if block.language == "python" else None
        if follows is not None and follows[1] == "text":
            block.printed, end = follows[2], follows.end()
        yield block, match.start(), end


def drawn() -> Iterator[bytes]:
    """Yield the open figures of matplotlib as PNG files, and close them."""
    if (pyplot := sys.modules.get("matplotlib.pyplot")) is None:
        return
    for number in pyplot.get_fignums():
        figure, file = pyplot.figure(number), io.BytesIO()
        figure.savefig(file, format="png", dpi=120, bbox_inches="tight")
        pyplot.close(figure)
        yield file.getvalue()


def same(wanted: str, printed: str) -> bool:
    """Tell whether what was printed is what the page says."""
    wanted, printed = (DATE.sub("@DATE.", text) for text in (wanted, printed))
    return wanted == printed or doctest.OutputChecker().check_output(wanted, printed, _FLAGS)


def commands(body: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a console block and what they should print."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        n = 1 + next(i for i, line in enumerate(lines) if not line.endswith("\\\n"))
        yield "".join(lines[:n]).rstrip("\n"), "".join(lines[n:])


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in a folder, and give the folder and the environment back as they were."""
    before, environment = Path.cwd(), dict(os.environ)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)


def link_data(page: str, data: Path, folder: Path) -> None:
    """Make a folder with links to the data of a page."""
    folder.mkdir(parents=True)
    for name, file in REAL[page].items():
        (folder / name).symlink_to((data / file).resolve(strict=True))


def run_page(path: Path, folder: Path) -> Page:
    """Run a page in a practice folder; return it with what its blocks print now.

    Where the page asks for the address of a server and starts none itself, there is to be one in
    the environment, or one of the folder's store is started.
    """
    with working_in(folder), ExitStack() as servers:
        page = Page(path.read_text(), servers)
        if "CELLKIN_ADDRESS" in page.text and not os.environ.get("CELLKIN_ADDRESS"):
            page.serve(["serve", "--store", "store"])
        page.run()
        return page


def data_folder() -> Path:
    """Return where the data of the pages of real cells are looked for."""
    return Path(os.environ.get(DATA) or ROOT.parent / "shared/data")


def run_apart(path: Path, scratch: Path, made: Path | None) -> tuple[list[Block], list[str]]:
    """Run a page in a folder of its own.

    Parameters
    ----------
    path
        The page.
    scratch
        Where the folder is made.
    made
        The practice folder, which is copied; None for a page of real cells.

    Returns
    -------
    list of Block
        The pieces of the page, with what they print now.
    list of str
        What was printed otherwise than the page says.
    """
    os.environ["MPLBACKEND"] = "agg"
    folder = scratch / path.stem
    if made is None:
        link_data(path.stem, data_folder(), folder)
    else:
        shutil.copytree(made, folder)
    page = run_page(path, folder)
    return page.blocks, page.differences


def write_pages(paths: list[Path]) -> None:
    """Write what is printed into pages; those of real cells need their data."""
    from tests.tutorials.practice_store import make_practice

    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made"
        if any(path.stem not in REAL for path in paths):
            make_practice(made)
        for path in paths:
            blocks, differences = run_apart(
                path, Path(scratch), None if path.stem in REAL else made
            )
            path.write_text("".join(map(str, blocks)))
            sys.stdout.write(
                "\n".join([f"{path.name}: {len(differences)} changes\n", *differences])
            )


if __name__ == "__main__":
    write_pages([Path(name).resolve() for name in sys.argv[1:]])
