"""Results as tables, by optional libraries."""

import csv
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from html import escape
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from cellkin.wire.errors import MissingDependencyError

_MOST_ROWS = 20
"""Rows of a table that a notebook shows."""
_MOST_ITEMS, _MOST_SIGNS = 3, 60
Told: TypeAlias = tuple[str, Sequence[str], Mapping[str, Any]]
"""What a notebook shows: a title, sentences below it, and columns."""


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


class Shown:
    """A result whose representations are short, however large it is.

    Its subclasses are dataclasses made with ``repr=False``.
    """

    def __repr__(self) -> str:
        if title := self._title():
            return f"<{type(self).__name__}: {title}>"
        parts = (f"{name}={_brief(getattr(self, name))}" for name in _names(self))
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_html_(self) -> str:
        return _html(*self._told())

    def _title(self) -> str:
        """Return what it is, in one line; empty if its fields say it."""
        return ""

    def _told(self) -> Told:
        """Return what a notebook shows."""
        names = _names(self)
        values = [_brief(getattr(self, name)) for name in names]
        return type(self).__name__, (), {"field": names, "value": values}


class Tabular(Shown, ABC):
    """A result with one row per item."""

    def _told(self) -> Told:
        return self._title() or repr(self), (), self.columns()

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


def _html(title: str, notes: Sequence[str], columns: Mapping[str, Any]) -> str:
    """Return a title, sentences and the first rows of a table as HTML."""
    n_rows = len(next(iter(columns.values()), ()))
    heads = "".join(f"<th>{escape(name)}</th>" for name in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(shown(value))}</td>" for value in row) + "</tr>"
        for row in islice(zip(*columns.values(), strict=True), _MOST_ROWS)
    )
    said = "".join(f"<p>{escape(note)}</p>" for note in notes)
    more = f"<p>{n_rows - _MOST_ROWS:,} more rows in to_pandas()</p>" if n_rows > _MOST_ROWS else ""
    return (
        f"<p><b>{escape(title)}</b></p>{said}<table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table>{more}"
    )


def _names(result: Any) -> list[str]:
    return [each.name for each in fields(result)]


def _brief(value: Any) -> str:
    """Return a value in a few words: arrays by type and shape, long lists by their first items."""
    if isinstance(value, np.ndarray):
        return f"<{value.dtype} {value.shape}>"
    if isinstance(value, str):
        return repr(value if len(value) <= _MOST_SIGNS else value[: _MOST_SIGNS - 3] + "...")
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, Mapping):
        return f"{{{_items(list(value))}}}"
    if isinstance(value, list | tuple):
        return f"[{_items(value)}]" if isinstance(value, list) else f"({_items(value)})"
    if is_dataclass(value) or len(repr(value)) > _MOST_SIGNS:
        return f"{type(value).__name__}(...)"
    return repr(value)


def _items(values: Sequence[Any]) -> str:
    first = ", ".join(map(_brief, values[:_MOST_ITEMS]))
    n_more = len(values) - _MOST_ITEMS
    return f"{first}, and {n_more:,} more" if n_more > 0 else first


def shown(value: Any) -> str:
    """Return a value as text: numbers by three digits, empty if missing."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else ""
    if isinstance(value, float | np.floating):
        return f"{float(value):.3g}"
    return str(value)
