"""Results as tables, by optional libraries."""

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any

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
