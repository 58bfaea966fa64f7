"""The part of Helm's templates that the chart uses, so that it can be rendered without Helm.

    python tests/packaging/helm_subset.py [KEY=VALUE ...]

Prints the manifests of the chart with its values, some of them changed. Knows fields of `.Values`,
`.Release` and `.Chart`, the functions quote, toYaml and nindent, and if, else and end; whatever
else a template has is refused.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "deploy/helm/cellkin"
_ACTION = re.compile(r"(\s*)\{\{(-?) (.*?) (-?)\}\}(\s*)", re.S)


def values(**changes: Any) -> dict[str, Any]:
    """Return the values of the chart with changes; ``a__b`` is the field b of a."""
    found: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    for path, value in changes.items():
        *above, last = path.split("__")
        place = found
        for name in above:
            place = place[name]
        if last not in place:
            raise KeyError(path)
        place[last] = value
    return found


def manifests(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rendered manifests of all templates."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    scope = {
        "Values": given,
        "Release": {"Name": "trial", "Namespace": "default"},
        "Chart": {"Name": chart["name"], "AppVersion": chart["appVersion"]},
    }
    texts = [render(path.read_text(), scope) for path in sorted((CHART / "templates").iterdir())]
    return [each for text in texts for each in yaml.safe_load_all(text) if each is not None]


def render(template: str, scope: Mapping[str, Any]) -> str:
    """Return a template with its actions carried out."""
    out: list[str] = []
    shown = [True]
    at = 0
    for action in _ACTION.finditer(template):
        before, trims_before, what, trims_after, after = action.groups()
        text = template[at : action.start()] + ("" if trims_before else before)
        out += [text] if all(shown) else []
        at = action.end() - (0 if trims_after else len(after))
        if what == "end":
            shown.pop()
        elif what == "else":
            shown[-1] = not shown[-1]
        elif what.startswith("if not "):
            shown.append(not _value(what.removeprefix("if not "), scope))
        elif what.startswith("if "):
            shown.append(bool(_value(what.removeprefix("if "), scope)))
        elif all(shown):
            out.append(_piped(what, scope))
    if len(shown) != 1:
        raise ValueError("an if without an end")
    return "".join(out) + template[at:]


def _piped(what: str, scope: Mapping[str, Any]) -> str:
    first, *functions = what.split(" | ")
    is_yaml = first.startswith("toYaml ")
    value = _value(first.removeprefix("toYaml "), scope)
    text = yaml.safe_dump(value).rstrip("\n") if is_yaml else str(value)
    for function in functions:
        if function == "quote":
            text = json.dumps(text)
        elif found := re.fullmatch(r"nindent (\d+)", function):
            text = "\n" + "\n".join(" " * int(found[1]) + line for line in text.splitlines())
        else:
            raise ValueError(f"function {function!r} is not known here")
    return text


def _value(path: str, scope: Mapping[str, Any]) -> Any:
    if not re.fullmatch(r"(\.\w+)+", path):
        raise ValueError(f"{path!r} is not known here")
    value: Any = scope
    for name in path.split(".")[1:]:
        value = value[name]
    return value


if __name__ == "__main__":
    given = (word.partition("=") for word in sys.argv[1:])
    chosen = {key: yaml.safe_load(value) for key, _, value in given}
    print(yaml.safe_dump_all(manifests(values(**chosen))))  # noqa: T201
