"""Render templates that extend ``page.html.j2`` of this folder."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cellkin.pages.theme import DARK, LIGHT


def render(template: Path, data: Any, **values: Any) -> str:
    """Render a page.

    Parameters
    ----------
    template
        A file that extends ``page.html.j2``.
    data
        Machine-readable figures of the page, embedded as JSON; any type that JSON can hold.
    values
        Variables of the template; texts are escaped.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    page = environment.get_template(template.name)
    return page.render(data=data, light=LIGHT, dark=DARK, **values)
