"""Label mouse cells from a human reference by nothing but what is written about their genes.

Run by ``make demo``. The steps are the commands a user would type, and they are printed as they
run: import the genes of both species, embed their texts with a language model, index the human
pancreas, serve it, annotate the mouse pancreas through the server. No table says which mouse gene
is which human gene, and ``cellkin annotate`` does not read the types the mouse cells came with:
they are compared with its answer afterwards. The control does the same with a random vector in
place of each gene's text, so it shows what the labels are worth without any text.

Everything is kept in ``.demo/``; downloads are made once.
"""

import json
import os
import resource
import shutil
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from commands import STORE, WORK, Steps, serving
from rich.console import Console

from cellkin.wire.errors import CellkinError

if TYPE_CHECKING:
    from data import DemoFiles
    from report import Evaluation

ROOT = Path(__file__).resolve().parents[2]
INDEXES = {"text": "pancreas", "random": "pancreas-random"}
MODELS = {"text": "all-minilm-l6-v2", "random": "random:384:0"}
REQUIRED_MARGIN = 0.15
"""By how much text must beat the control in accuracy; less means that something is broken."""


def label_mouse(steps: Steps, files: "DemoFiles") -> tuple[dict[str, Path], str]:
    """Run the commands of the demo.

    Parameters
    ----------
    steps
        Where to print and time them.
    files
        Their input.

    Returns
    -------
    tuple
        The annotated mouse cells by method, and the printed neighbors of INS.
    """
    steps.run("import genes", "genes", "import", *STORE, "--gene-info", str(files.gene_info))
    for method, model in MODELS.items():
        steps.run(f"embed {method}", "genes", "embed", *STORE, "--model", model)
    columns = ["--label", "cell_type", "--batch", "donor"]
    for method, index in INDEXES.items():
        # The text model is the default, so only the control names its gene vectors.
        control = ["--embedding", MODELS[method]] if method == "random" else []
        where = [str(files.human), *STORE, "--name", index]
        steps.run(f"index {method}", "cells", "index", *where, *columns, *control)
    outputs = {method: WORK / f"mouse-{method}.h5ad" for method in INDEXES}
    with serving(steps) as address:
        server = ["--server", address]
        for method, index in INDEXES.items():
            where = [str(files.mouse), "--index", index, *server, "-o", str(outputs[method])]
            steps.run(f"annotate {method}", "annotate", *where)
        genes = steps.run(
            "search genes", "search", "genes", "INS", "--taxon", "9606", "-k", "10", *server
        )
    return outputs, genes


def compare(
    steps: Steps, files: "DemoFiles", outputs: dict[str, Path], console: Console
) -> "dict[str, Evaluation]":
    """Compare the labels with the known types, print the tables and draw the picture.

    Parameters
    ----------
    steps
        Where to print and time it.
    files
        The reference.
    outputs
        The annotated mouse cells by method.
    console
        Where the tables go.

    Returns
    -------
    dict
        The figures by method.
    """
    picture = WORK / "confusion.png"
    with steps.step("evaluate", "mouse labels against the authors' own"):
        import anndata as ad
        import report

        reference = ad.read_h5ad(files.human).obs["cell_type"].to_numpy(dtype=str)
        types = sorted(set(reference))
        annotated = {method: ad.read_h5ad(path).obs for method, path in outputs.items()}
        truth = annotated["text"]["cell_type"].to_numpy(dtype=str)
        winners = {
            method: obs["cellkin_winner"].to_numpy(dtype=str) for method, obs in annotated.items()
        }
        evaluations = {
            method: report.evaluate(
                truth, winners[method], obs["cellkin_unknown"].to_numpy(bool), types
            )
            for method, obs in annotated.items()
        }
        report.draw_confusion(winners, truth, types, picture)
    console.print()
    console.print(report.summary_table(evaluations))
    console.print(report.absent_sentence(evaluations), highlight=False)
    console.print()
    console.print(report.recall_table(evaluations, truth, reference))
    print(f"\nWho was taken for whom: {picture}")
    return evaluations


def main() -> int:
    """Run the demo.

    Returns
    -------
    int
        The exit code: 0, or 1 where text does not beat the control.
    """
    started = time.monotonic()
    os.chdir(ROOT)  # so that the printed commands can be pasted in the root of the repository
    for leftover in ("result.json", "confusion.png"):
        (WORK / leftover).unlink(missing_ok=True)
    if (WORK / "store").exists():
        shutil.rmtree(WORK / "store")
    steps, console = Steps(), Console()

    with steps.step("data", "mouse and human pancreas, NCBI genes (fetched once, digests checked)"):
        from data import prepare  # here, since anndata takes seconds to load: they count

        files = prepare(WORK)
    outputs, genes = label_mouse(steps, files)
    evaluations = compare(steps, files, outputs, console)
    print(f"\nThe ten genes nearest to INS:\n{genes.rstrip()}\n")

    total_s = time.monotonic() - started
    own_mib, command_mib = peak_memory_mib()
    result = {
        **{method: asdict(figures) for method, figures in evaluations.items()},
        "n_genes": files.n_genes,
        "n_cells": files.n_cells,
        "seconds": steps.seconds | {"total": round(total_s, 2)},
        "peak_memory_mib": {"script": own_mib, "largest_command": command_mib},
    }
    (WORK / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"{total_s:.0f} s in total; peak memory {own_mib:,} MiB of this script, "
        f"{command_mib:,} MiB of the largest command"
    )
    margin = evaluations["text"].accuracy - evaluations["random"].accuracy
    if margin < REQUIRED_MARGIN:
        print(
            f"The accuracy of text is {margin:+.3f} above that of random gene vectors; at least "
            f"+{REQUIRED_MARGIN} is expected: something is broken.",
            file=sys.stderr,
        )
    for method, figures in evaluations.items():
        print(f"{method:<7} accuracy {figures.accuracy:.3f}  macro-F1 {figures.macro_f1:.3f}")
    return int(margin < REQUIRED_MARGIN)


def peak_memory_mib() -> tuple[int, int]:
    """Ask the system for the most resident memory used so far.

    Returns
    -------
    tuple
        Of this process, and of its largest finished child; MiB.
    """
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux KiB
    own, children = (
        resource.getrusage(who).ru_maxrss // unit
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own, children


def _end_on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    # By default these end Python at once, and would leave the server running.
    signal.signal(signal.SIGTERM, _end_on_signal)
    signal.signal(signal.SIGHUP, _end_on_signal)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except CellkinError as error:
        sys.exit(f"error: {error}")
