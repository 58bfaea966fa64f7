"""LanceDB, without the client of its REST service until something of that is used.

The client is generated code, whose import takes half of the CPU time of importing LanceDB. Of it,
LanceDB itself uses the models alone.
"""

import sys
from importlib.util import find_spec, module_from_spec
from typing import Any

_CLIENT = "lance_namespace_urllib3_client"


def _defer(name: str) -> None:
    """Put a package in place whose submodules can be imported, and which runs when it is asked."""
    spec = find_spec(name)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    package, loader = module_from_spec(spec), spec.loader

    def run(attribute: str) -> Any:
        package.__dict__.pop("__getattr__", None)
        loader.exec_module(package)
        return getattr(package, attribute)

    package.__dict__["__getattr__"] = run
    sys.modules[name] = package


_defer(_CLIENT)

import lancedb  # noqa: E402

__all__ = ["lancedb"]
