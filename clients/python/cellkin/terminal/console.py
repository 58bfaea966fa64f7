"""Tables and progress bars, on a terminal or in a log."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table with numeric columns right-aligned."""
    cells = [[str(value) for value in row] for row in rows]
    table = Table()
    for at, name in enumerate(columns):
        numbers = bool(cells) and all(
            row[at][:1].isdigit() or row[at] in ("", "-") for row in cells
        )
        # The first column names the row, so it must not be truncated.
        table.add_column(name, justify="right" if numbers else "left", no_wrap=at == 0)
    for row in cells:
        table.add_row(*map(escape, row))
    width = None if sys.stdout.isatty() else 110
    console = Console(width=width, highlight=False)
    # Not rich's table title, which is wrapped to the width of the table.
    console.print(title, style="bold", markup=False, soft_wrap=True)
    console.print(table)


def print_rich(drawn: RenderableType) -> None:
    """Print a rich renderable, such as a rich table."""
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(drawn)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress, rate and remaining time on standard error.

    Yields a function ``progress(done, total)``. If standard error is not a terminal, a line is
    printed every tenth of the way.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _log_lines(what)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task, pace = progress.add_task(what, total=None, rate=""), _Pace()
        yield lambda done, total: progress.update(
            task, completed=done, total=total, rate=_rate(pace.per_s(done))
        )


class _Pace:
    """Rate since the first report; what an earlier run did, and is done by then, does not count."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def per_s(self, done: int) -> float:
        """Return the number done per second, 0 if not known yet."""
        now_s = monotonic()
        self._first = self._first or (done, now_s)
        n_before, start_s = self._first
        return (done - n_before) / (now_s - start_s) if now_s > start_s else 0.0


def _log_lines(what: str) -> Callable[[int, int], None]:
    shown, pace = -1, _Pace()

    def show(done: int, total: int) -> None:
        nonlocal shown
        per_s = pace.per_s(done)
        tenth = 10 * done // max(1, total)
        if tenth > shown:
            shown = tenth
            left = f", {(total - done) / per_s:.0f} s left" if per_s and done < total else ""
            rate = f", {_rate(per_s)}" if per_s else ""
            sys.stderr.write(f"{what}: {done} of {total}{rate}{left}\n")
            sys.stderr.flush()

    return show


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}/s" if per_s >= 10 else f"{per_s:.1f}/s" if per_s else ""
