"""Names of versions: ``NAME`` (the latest), ``NAME@ALIAS`` or ``NAME@DATE.N`` (exactly one)."""

import re
from dataclasses import dataclass
from functools import lru_cache

from cellkin.wire.errors import InvalidArgumentError

LATEST = "latest"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}\.[1-9]\d*")
_MOST_SHOWN = 120
_ALIAS = re.compile(r"[a-z][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class VersionName:
    """A name and a selector: a version ``2026-11-22.1`` or an alias ``latest``."""

    name: str
    selector: str = LATEST

    def __str__(self) -> str:
        """Return ``name@selector``."""
        return f"{self.name}@{self.selector}"

    @property
    def is_version(self) -> bool:
        """Whether the selector is an immutable version and not an alias."""
        return _VERSION.fullmatch(self.selector) is not None


def is_name(text: str) -> bool:
    """Return whether a text is a valid name; see `check_name`."""
    return _NAME.fullmatch(text) is not None


def check_name(name: str, what: str) -> str:
    """Return the name if it is valid.

    Parameters
    ----------
    name
        The name.
    what
        What it names, for the error message.

    Raises
    ------
    InvalidArgumentError
        If it has characters other than lower-case letters, digits and ``. _ -``, more than 100, or
        does not begin with a letter or digit.
    """
    if not is_name(name):
        raise InvalidArgumentError(
            f"{what} {_shown(name)}: a name has up to 100 lower-case letters, digits, '.', '_' or "
            "'-' and begins with a letter or digit"
        )
    return name


def check_alias(alias: str) -> str:
    """Return the alias if it is valid.

    Raises
    ------
    InvalidArgumentError
        If it has characters other than lower-case letters, digits and ``-``, more than 40, or does
        not begin with a letter.
    """
    if not _ALIAS.fullmatch(alias):
        raise InvalidArgumentError(
            f"alias {_shown(alias)}: an alias has up to 40 lower-case letters, digits or '-' and "
            "begins with a letter"
        )
    return alias


@lru_cache(maxsize=1024)
def parse_version_name(text: str, what: str) -> VersionName:
    """Return the parsed ``NAME[@VERSION_OR_ALIAS]``.

    Parameters
    ----------
    text
        The text to parse.
    what
        What it should name, for the error: "cell index", "embedding".

    Raises
    ------
    InvalidArgumentError
        If the text has another form.
    """
    name, at, selector = text.partition("@")
    check_name(name, what)
    if at and not (_VERSION.fullmatch(selector) or _ALIAS.fullmatch(selector)):
        raise InvalidArgumentError(
            f"{what} {_shown(text)}: after '@' comes a version such as 2026-11-22.1 or an alias"
        )
    return VersionName(name, selector or LATEST)


def embedding_name(spec: str) -> str:
    """Return the name of an embedding model's versions: its spec with ``-`` for ``:``.

    ``random:384:0`` becomes ``random-384-0``; a name is returned unchanged.
    """
    return spec.replace(":", "-")


def _shown(text: str) -> str:
    """Return the quoted text for an error, truncated: it may be a whole file by mistake."""
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")
