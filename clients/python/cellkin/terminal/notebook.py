"""Progress bars in a notebook."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", ())


@contextmanager
def notebook_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress, rate and remaining time below a cell, until it is done.

    Yields a function ``progress(done, total)``.
    """
    with warnings.catch_warnings():
        # Without ipywidgets it draws the bar with letters, and warns.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    bar: Any = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(desc=what, total=total or None, leave=False)
        bar.update(done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
