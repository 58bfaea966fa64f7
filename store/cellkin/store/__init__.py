"""What is kept: the catalog of versions, LanceDB tables, index artifacts and their integrity."""

import os

# Lance warns of tables that do not exist yet, which is no news to who makes them. It reads this
# when it is imported.
os.environ.setdefault("LANCEDB_LOG", "error")
os.environ.setdefault("LANCE_LOG", "error")
# Of GNU's OpenMP and of LLVM's, read when FAISS, torch or scikit-learn is imported: threads that
# wait sleep. Spinning, they take the core from each other, and from whatever else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")
