"""The gallery of the pictures that scripts wrote into the folder of pictures."""

from pathlib import Path

from cellkin.client import pl

FOLDER = Path(__file__).parents[1] / "pictures"


def gallery() -> str:
    """Return the picture of every function of `cellkin.client.pl` as Markdown."""
    return "\n".join(map(_one, pl.__all__))


def _one(name: str) -> str:
    told = (getattr(pl, name).__doc__ or "").partition("\n")[0]
    found = sorted(FOLDER.glob(f"pl-{name.replace('_', '-')}*.png"))
    shown = "".join(f"![{told}](pictures/{file.name})\n\n" for file in found)
    return f"## pl.{name}\n\n{{py:obj}}`~cellkin.client.pl.{name}`: {told}\n\n{shown}"
