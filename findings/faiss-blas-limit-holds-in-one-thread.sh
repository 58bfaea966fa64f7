#!/usr/bin/env bash
# faiss-cpu 1.15.1 with threadpoolctl 3.8.0: a limit of BLAS threads holds in one thread only.
#
# Expected: within threadpool_limits(1, "blas") every thread of the process calls BLAS with one
#   thread, as with the OpenBLAS of numpy's wheel, which is in the same process.
# Seen: the OpenBLAS in faiss-cpu's wheel is built on OpenMP, whose limit belongs to the thread that
#   sets it. A thread that is started within the limit still has three threads for it, and is
#   limited only if it sets the limit itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check \
  "faiss-cpu==1.15.1" "numpy==2.4.6" "threadpoolctl==3.8.0"
OMP_NUM_THREADS=3 OPENBLAS_NUM_THREADS=3 "$folder/env/bin/python" - <<'PYTHON'
import sys
from concurrent.futures import ThreadPoolExecutor

import faiss  # noqa: F401
import numpy  # noqa: F401
from threadpoolctl import threadpool_info, threadpool_limits


def limits():
    return {
        "faiss" if "faiss" in pool["filepath"] else "numpy": pool["num_threads"]
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }


with threadpool_limits(1, "blas"):
    here = limits()
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(limits).result()
    with ThreadPoolExecutor(1, "own", threadpool_limits, (1, "blas")) as pool:
        own = pool.submit(limits).result()
print("in the thread that set it:", here, "in another:", there, "in one that sets it, too:", own)
one = {"faiss": 1, "numpy": 1}
sys.exit(0 if here == one and there == {"faiss": 3, "numpy": 1} and own == one else 1)
PYTHON
