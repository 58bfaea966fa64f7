"""The public interface is what public_api.txt says.

After a change that is meant, write it anew and say so in CHANGELOG.md:
python -m tests.packaging.test_public_api
"""

import difflib
from importlib.util import find_spec
from pathlib import Path

from tests.packaging.public import MODULES, public_names

LIST = Path(__file__).with_name("public_api.txt")


def written() -> str:
    """Return the public interface, a line a name."""
    there = [module for module in MODULES if find_spec(module)]
    return "".join(f"{public}\n" for module in there for public in public_names(module))


def test_the_public_interface_is_as_agreed() -> None:
    agreed, found = LIST.read_text().splitlines(), written().splitlines()
    difference = "\n".join(difflib.unified_diff(agreed, found, "agreed", "found", lineterm="", n=0))
    assert not difference, (
        f"{difference}\nif that is meant: python -m tests.packaging.test_public_api"
    )


if __name__ == "__main__":
    LIST.write_text(written())
