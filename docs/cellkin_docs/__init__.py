"""The Sphinx extension of these pages: what is generated, and how names of Python are found."""

import inspect
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import stringify_annotation

from cellkin.client.surface import Surface
from cellkin.client.transport.core import Pages, Stream
from cellkin_docs import errors, metrics, notebooks, pictures, protos

GENERATED = {
    "errors": errors.table,
    "metrics": metrics.table,
    "pictures": pictures.gallery,
    "proto": protos.page,
}
"""What writes the Markdown that ``<!-- generated: NAME ARGUMENTS -->`` stands for."""
FOLDER = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)\)")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_config_value("cellkin_run_tutorials", True, "env", bool)
    app.connect("builder-inited", notebooks.start)
    app.connect("env-before-read-docs", notebooks.read_last)
    app.connect("source-read", fill)
    app.connect("source-read", notebooks.put_in)
    app.connect("build-finished", notebooks.end)
    app.connect("autodoc-process-signature", requests, priority=900)  # after types are noted
    app.connect("missing-reference", find)
    return {"parallel_write_safe": True}


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what is generated in the place of its marks; links to folders become words."""
    lines = source[0].splitlines(keepends=True)
    for at, line in enumerate(lines):
        if line.startswith("<!-- generated: "):
            name, *arguments = line.removeprefix("<!-- generated: ").removesuffix(" -->\n").split()
            lines[at] = GENERATED[name](*arguments)
    here = Path(app.env.doc2path(page)).parent

    def word(link: re.Match[str]) -> str:
        return link[1] if (here / link[2]).is_dir() else link[0]

    source[0] = FOLDER.sub(word, "".join(lines))


def requests(app: Sphinx, kind: str, name: str, *_: object) -> tuple[str, str | None] | None:
    """Return the parameters of a client's method: those of the function that makes its request.

    Such a function returns a class of which the answer is the last parameter.
    """
    method = vars(Surface).get(name.rpartition(".")[2]) if "Client." in name else None
    if method is None:
        return None
    made = inspect.signature(method.__wrapped__)
    wrapped, (*_, answer) = made.return_annotation, get_args(made.return_annotation)
    if get_origin(wrapped) is Pages:
        answer = (AsyncIterator if "AsyncClient." in name else Iterator)[answer]
    elif get_origin(wrapped) is Stream:
        answer = tuple[get_args(wrapped)]
    types = app.env.current_document.autodoc_annotations
    for each in (name, f"{method.__module__}.{method.__qualname__}"):
        if each in types:
            types[each]["return"] = stringify_annotation(answer, "smart")
    return stringify_signature(made, show_annotation=False, show_return_annotation=False), None


def find(app: Sphinx, env: Any, node: Any, shown: Any) -> Any:
    """Find a name of Python by its last parts, wherever it is exported.

    Annotations name the module that defines a class, the pages the one that users import it from.
    """
    if node.get("refdomain") != "py":
        return None
    names = env.domains.python_domain.objects
    known = getattr(env, "cellkin_names", None)
    if known is None or known[0] != len(names):
        by_last = defaultdict(list)
        for name in names:
            by_last[name.rpartition(".")[2]].append(name)
        env.cellkin_names = known = len(names), by_last
    target = node["reftarget"]
    found = known[1][target.rpartition(".")[2]]
    if not target.startswith("cellkin."):
        found = [name for name in found if name.endswith(f".{target}")]
    # One class may have two names, and is described once.
    places = {names[name].docname: names[name] for name in found}
    if len(places) != 1:
        return None
    (place,) = places.values()
    return make_refnode(app.builder, node["refdoc"], place.docname, place.node_id, [shown])
