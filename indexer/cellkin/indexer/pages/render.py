"""Fill in the templates of this folder."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cellkin.indexer.pages.theme import DARK, LIGHT


def render(template: str, data: Any, **values: Any) -> str:
    """Return a page.

    Parameters
    ----------
    template
        Name of a file of this folder that extends ``page.html.j2``.
    data
        The figures of the page for programs, embedded as JSON: anything JSON takes.
    values
        Variables of the template; text is escaped.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment.get_template(template).render(data=data, light=LIGHT, dark=DARK, **values)
