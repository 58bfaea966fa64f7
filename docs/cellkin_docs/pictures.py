"""The gallery of the pictures that docs/pictures.py draws, with the calls that draw them."""

import ast
from collections.abc import Iterator
from pathlib import Path

from cellkin.client import pl

DOCS = Path(__file__).parents[1]


def gallery() -> str:
    """Return every function of `cellkin.client.pl` with its pictures as Markdown.

    Raises
    ------
    LookupError
        If a function has no picture.
    """
    calls = dict(drawn())
    return "\n".join(_one(name, calls) for name in pl.__all__)


def _one(name: str, calls: dict[str, str]) -> str:
    told = (getattr(pl, name).__doc__ or "").partition("\n")[0]
    stem = name.replace("_", "-")
    shown = [each for each in calls if each == stem or each.startswith(f"{stem}-")]
    if not shown:
        raise LookupError(f"docs/pictures.py draws no picture of pl.{name}")
    pictures = "".join(
        f"```python\n{calls[each]}\n```\n\n![{told}](pictures/pl-{each}.png)\n\n" for each in shown
    )
    return f"## pl.{name}\n\n{{py:obj}}`~cellkin.client.pl.{name}`: {told}\n\n{pictures}"


def drawn() -> Iterator[tuple[str, str]]:
    """Yield the name of each picture and the call that draws it, as the script has them."""
    source = (DOCS / "pictures.py").read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            pairs = iter([(node.targets[0].slice, node.value)])
        else:
            continue
        for key, value in pairs:
            if isinstance(key, ast.Constant) and isinstance(value, ast.Lambda):
                call = ast.get_source_segment(source, value.body) or ""
                yield str(key.value), " ".join(call.split())
