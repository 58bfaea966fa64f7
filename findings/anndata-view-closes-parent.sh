#!/usr/bin/env bash
# anndata 0.12.19: reading a view of a backed AnnData into memory closes the file of its parent.
#
# Expected: view.to_memory() leaves the parent open, as reading view.X does: a program that holds
#   adata.file goes on reading from it.
# Seen: afterwards adata.file.is_open is False, though nobody closed it; the h5py file that was open
#   is closed ("Invalid location identifier"), and only the next use of adata.X opens another one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check \
  "anndata==0.12.19" "h5py==3.16.0" "numpy==2.3.5" "pandas==2.3.3" "scipy==1.16.3" "zarr==3.1.6"
"$folder/env/bin/python" - "$folder/cells.h5ad" <<'PYTHON'
import sys

import anndata
import numpy as np
import scipy.sparse as sp

path = sys.argv[1]
anndata.AnnData(sp.csr_matrix(np.eye(4, dtype="f4"))).write_h5ad(path)
adata = anndata.read_h5ad(path, backed="r")
held = adata.file._file
before = adata.file.is_open, bool(held)
adata[:2].X
reading = adata.file.is_open, bool(held)
adata[:2].to_memory()
after = adata.file.is_open, bool(held)
total = float(adata.X[:].sum())
print("open:", before, "after view.X:", reading, "after view.to_memory():", after, "sum:", total)
expected = before == (True, True) and reading == (True, True) and total == 4.0
sys.exit(0 if expected and after == (False, False) else 1)
PYTHON
