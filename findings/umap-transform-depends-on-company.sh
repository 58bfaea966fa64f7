#!/usr/bin/env bash
# umap-learn 0.5.12: where transform() puts a point depends on the other points of the call.
#
# Expected: with a fitted model and random_state set, a point gets one position, whether it is
#   transformed alone or with others, and a point that was fitted gets the position it was fitted to.
# Seen: the same 20 new points get other positions in a call with 200 more than alone, half as far
#   away as their 15th neighbor; half of the fitted points, in a call of their own, are moved, too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --disable-pip-version-check \
  "umap-learn==0.5.12" "numpy==2.4.6" "scikit-learn==1.9.1" "numba==0.68.1"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import umap

rng = np.random.default_rng(0)
centers = rng.standard_normal((4, 10)) * 4
fitted = centers[np.arange(400) % 4] + rng.standard_normal((400, 10))
new = centers[np.arange(220) % 4] + rng.standard_normal((220, 10))
model = umap.UMAP(random_state=0, n_jobs=1).fit(fitted)
alone, again = model.transform(new[:20]), model.transform(new[:20])
together = model.transform(new)[:20]
spacing = np.median(np.sort(np.linalg.norm(
    model.embedding_[:, None] - model.embedding_[None], axis=2), axis=1)[:, 15])
moved = np.linalg.norm(alone - together, axis=1).mean() / spacing
own = np.linalg.norm(
    model.transform(fitted[:200]) - model.embedding_[:200], axis=1).mean() / spacing
print(f"of the distance to the 15th neighbor: moved by company {moved:.2f}, fitted points {own:.2f}")
print("the same call twice is equal:", bool(np.array_equal(alone, again)))
sys.exit(0 if moved > 0.05 and own > 0.05 else 1)
PYTHON
