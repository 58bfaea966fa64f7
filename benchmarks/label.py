"""Label a backed AnnData by `tl.annotate`, as annotate_client.py has it done in a process alone."""

import argparse
import json
import time
from pathlib import Path

import anndata
import numpy as np

from cellkin.client import Client, tl


def main() -> None:
    """Label; write what came, how long it took, and the most memory it took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("query", type=Path)
    parser.add_argument("address")
    parser.add_argument("out", type=Path)
    parser.add_argument("--resume", type=Path)
    arguments = parser.parse_args()
    adata = anndata.read_h5ad(arguments.query, backed="r")
    with Client(arguments.address) as client:
        began = time.perf_counter()
        tl.annotate(adata, "ref", client=client, resume=arguments.resume)
        took = time.perf_counter() - began
    status = Path("/proc/self/status").read_text()
    peak_gib = int(status.partition("VmHWM:")[2].split()[0]) / 2**20
    obs = adata.obs
    np.savez(
        arguments.out.with_suffix(".npz"),
        labels=obs["cellkin_label"].cat.codes, winners=obs["cellkin_winner"].cat.codes,
        probabilities=obs["cellkin_probability"], supports=obs["cellkin_support"],
        novelties=obs["cellkin_novelty"], reasons=obs["cellkin_reason"].cat.codes,
    )  # fmt: skip
    arguments.out.write_text(json.dumps({"wall_s": took, "peak_gib": peak_gib}))


if __name__ == "__main__":
    main()
