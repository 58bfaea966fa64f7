"""What is kept: the catalog of versions, LanceDB tables, index artifacts and their integrity."""

import os

# Lance warns of tables that do not exist yet, which is no news to who makes them. It reads this
# when it is imported.
os.environ.setdefault("LANCEDB_LOG", "error")
os.environ.setdefault("LANCE_LOG", "error")
