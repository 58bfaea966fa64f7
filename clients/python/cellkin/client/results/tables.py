"""Results as tables, by optional libraries."""

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterable
from html import escape
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cellkin.wire.errors import MissingDependencyError


def needed(module: str, extra: str) -> Any:
    """Import an optional library.

    Parameters
    ----------
    module
        Name of the library.
    extra
        The extra of cellkin-client that installs it.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"this needs {error.name}, which is not installed; "
            f"pip install 'cellkin-client[{extra}]'"
        ) from error


class Tabular(ABC):
    """A result with one row per item."""

    @abstractmethod
    def columns(self) -> dict[str, Any]:
        """Return the columns by name: arrays or lists of equal length."""

    def records(self) -> list[dict[str, Any]]:
        """Return one dictionary per row for JSON: Python numbers, None for missing ones."""
        columns = self.columns()
        rows = zip(*map(_plain, columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def write_csv(self, path: Path) -> None:
        """Write the `columns` as CSV, UTF-8; missing values are empty.

        Parameters
        ----------
        path
            The file, which is replaced.
        """
        columns = self.columns()
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*map(_plain, columns.values()), strict=True))

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` of the `columns`.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed (extra ``pandas``).
        """
        return needed("pandas", "pandas").DataFrame(self.columns())

    def to_arrow(self) -> Any:
        """Return a ``pyarrow.Table`` of the `columns`.

        Raises
        ------
        MissingDependencyError
            If pyarrow is not installed (extra ``arrow``).
        """
        return needed("pyarrow", "arrow").table(self.columns())


def _plain(column: Any) -> list[Any]:
    """Return the values of a column as Python values, None for NaN."""
    values = np.asarray(column)
    if values.dtype == np.float32:
        values = values.astype(str).astype(float)  # 0.9, not 0.8999999761581421
    plain = values.tolist() if values.dtype.kind in "biuf" else list(column)
    return [None if value != value else value for value in plain]


def html_page_part(title: str, notes: Iterable[str], table: Tabular, n_shown: int) -> str:
    """Return a result as HTML for a notebook.

    Parameters
    ----------
    title
        What the result is.
    notes
        Sentences below the title.
    table
        The rows.
    n_shown
        Maximum number of rows to show.
    """
    columns = table.columns()
    n_rows = len(next(iter(columns.values())))
    heads = "".join(f"<th>{escape(name)}</th>" for name in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(shown(value))}</td>" for value in row) + "</tr>"
        for row in islice(zip(*columns.values(), strict=True), n_shown)
    )
    said = "".join(f"<p>{escape(note)}</p>" for note in notes)
    more = f"<p>{n_rows - n_shown:,} more rows in to_pandas()</p>" if n_rows > n_shown else ""
    return (
        f"<p><b>{escape(title)}</b></p>{said}<table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table>{more}"
    )


def shown(value: Any) -> str:
    """Return a value as text: numbers by three digits, empty if missing."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else ""
    if isinstance(value, float | np.floating):
        return f"{float(value):.3g}"
    return str(value)
