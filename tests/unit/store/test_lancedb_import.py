"""The REST client of LanceDB is imported when it is used."""

import subprocess
import sys

_CHECK = """
import sys
from cellkin.store.lancedb_import import lancedb
client = "lance_namespace_urllib3_client"
assert lancedb.connect
assert f"{client}.models" in sys.modules
assert f"{client}.api" not in sys.modules, "imported before it is used"
import lance_namespace_urllib3_client
assert lance_namespace_urllib3_client.NamespaceApi.__module__.startswith(f"{client}.api")
"""


def test_the_client_is_imported_when_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", _CHECK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
