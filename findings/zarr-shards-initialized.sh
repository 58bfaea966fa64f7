#!/usr/bin/env bash
# zarr 3.1.6 (and 3.4.2 on Python 3.12): Array.nchunks_initialized is larger than Array.nchunks.
#
# An array of 1,050 values in chunks of 100 and shards of 400 has 11 chunks in 3 shards; the last
# shard is short. All values are written.
# Expected: nchunks_initialized == nchunks == 11, so that their difference is the number of chunks
#   that were never written or were lost.
# Seen: nchunks is 11 and nchunks_initialized is 12, for every shard that exists counts as full, so
#   the number of missing chunks comes out as -1. With a shard removed it is 8, though 7 are left.
# Whoever looks for lost chunks of sharded arrays has to list the keys of the store.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check "zarr==3.1.6" "numpy==2.3.5"
"$folder/env/bin/python" - "$folder/cells.zarr" <<'PYTHON'
import pathlib
import sys

import numpy as np
import zarr

path = pathlib.Path(sys.argv[1])
array = zarr.create_array(
    store=str(path), shape=(1050,), chunks=(100,), shards=(400,), dtype="i4", fill_value=0
)
array[:] = np.arange(1, 1051)
whole = array.nchunks, array.nchunks_initialized
(path / "c" / "1").unlink()
less = zarr.open_array(str(path)).nchunks_initialized
print(zarr.__version__, "nchunks, nchunks_initialized:", whole, "with a shard removed:", less)
sys.exit(0 if whole == (11, 12) and less == 8 else 1)
PYTHON
