"""Storage: the catalog of versions, LanceDB tables, index artifacts and integrity checks."""

import os

# Lance warns about tables that do not exist yet, which is expected when creating them. Read when
# Lance is imported.
os.environ.setdefault("LANCEDB_LOG", "error")
os.environ.setdefault("LANCE_LOG", "error")
# For GNU's and LLVM's OpenMP, read when FAISS, torch or scikit-learn is imported: waiting threads
# sleep. Spinning threads take cores from each other and from other processes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")
