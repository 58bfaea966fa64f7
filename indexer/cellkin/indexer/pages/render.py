"""Render the templates of this folder."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cellkin.indexer.pages.theme import DARK, LIGHT


def render(template: str, data: Any, **values: Any) -> str:
    """Render a page.

    Parameters
    ----------
    template
        Name of a file of this folder that extends ``page.html.j2``.
    data
        Machine-readable figures of the page, embedded as JSON; any type that JSON can hold.
    values
        Variables of the template; texts are escaped.
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
