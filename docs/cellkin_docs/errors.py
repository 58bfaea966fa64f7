"""The table of error reasons, from the classes of `cellkin.wire.errors`."""

from collections.abc import Iterator

from cellkin.wire.errors import CellkinError


def table() -> str:
    """Return the reasons of all errors as a table of Markdown."""
    rows = "".join(
        f"| `{error.reason}` | `{error.code}` | {{py:obj}}`~cellkin.wire.errors.{error.__name__}` "
        f"| {(error.__doc__ or '').partition(chr(10))[0].replace('``', '`')} |\n"
        for error in tree(CellkinError)
    )
    head = "| reason | gRPC status | class in Python | meaning |\n| --- | --- | --- | --- |\n"
    return head + rows


def tree(base: type[CellkinError]) -> Iterator[type[CellkinError]]:
    """Yield the classes below one, each before those below it."""
    for error in base.__subclasses__():
        yield error
        yield from tree(error)
