"""Label mouse cells from a human reference, using only texts about genes.

Run by ``cellkin demo``. The steps are the commands a user would type, and they are printed as they
run, those that overlap when they end: import the genes of both species, embed their texts with a
language model, index the human pancreas, serve it, annotate the mouse pancreas through the server.
No table of orthologs is used, and ``cellkin annotate`` does not read the known types of the mouse
cells, which are compared with the predicted ones afterwards. The control uses a random vector
instead of each gene embedding, and so shows the quality of labels without texts.

All files are in ``.demo/`` of the working folder; downloads are reused.
"""

import json
import resource
import shutil
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import anndata as ad
import click
from rich.console import Console

from cellkin.indexer.demo import report
from cellkin.indexer.demo.data import DemoFiles, prepare
from cellkin.indexer.demo.report import Evaluation
from cellkin.indexer.demo.steps import STORE, WORK, Steps, ended_by_signals, serving

INDEXES = {"text": "pancreas", "random": "pancreas-random"}
MODELS = {"text": "all-minilm-l6-v2", "random": "random:384:0"}
REQUIRED_MARGIN = 0.15
"""Least expected difference in accuracy between text and control."""


def label_mouse(steps: Steps, files: DemoFiles) -> tuple[dict[str, Path], str]:
    """Run the commands of the demo.

    Parameters
    ----------
    steps
        Prints and times them.
    files
        The input files.

    Returns
    -------
    tuple
        Files of annotated mouse cells by method, and the printed neighbors of INS.
    """
    steps.run("import genes", "genes", "import", *STORE, "--gene-info", str(files.gene_info))
    # Cells of mice are compared by text alone; what is not asked for here is not fitted.
    columns = ["--label", "cell_type", "--batch", "donor", "--space", "text", "--quick"]

    def index(method: str) -> None:
        model = MODELS[method]
        steps.run(f"embed {method}", "genes", "embed", *STORE, "--model", model)
        # The text model is the default, so only the control names its gene vectors.
        control = ["--embedding", model] if method == "random" else []
        where = [str(files.human), *STORE, "--name", INDEXES[method]]
        steps.run(f"index {method}", "cells", "index", *where, *columns, *control)

    steps.together(*(partial(index, method) for method in MODELS))
    outputs = {method: WORK / f"mouse-{method}.h5ad" for method in INDEXES}
    genes = ""
    with serving(steps) as address:
        server = ["--server", address]

        def annotate(method: str) -> None:
            where = [str(files.mouse), "--index", INDEXES[method], *server]
            steps.run(f"annotate {method}", "annotate", *where, "-o", str(outputs[method]))

        def search() -> None:
            nonlocal genes
            near = ["INS", "--taxon", "9606", "-k", "10"]
            genes = steps.run("search genes", "search", "genes", *near, *server)

        steps.together(*(partial(annotate, method) for method in INDEXES), search)
    return outputs, genes


def compare(
    steps: Steps, files: DemoFiles, outputs: dict[str, Path], console: Console
) -> dict[str, Evaluation]:
    """Compare the labels with the known types, print tables and draw a figure.

    Parameters
    ----------
    steps
        Prints and times it.
    files
        The reference.
    outputs
        Files of annotated mouse cells by method.
    console
        Console to print the tables to.

    Returns
    -------
    dict
        The figures by method.
    """
    picture = WORK / "confusion.png"
    with steps.step("evaluate", "mouse labels against the authors' own"):
        reference = ad.read_h5ad(files.human).obs["cell_type"].to_numpy(dtype=str)
        types = sorted(set(reference))
        annotated = {method: ad.read_h5ad(path).obs for method, path in outputs.items()}
        truth = annotated["text"]["cell_type"].to_numpy(dtype=str)
        predicted = {
            method: obs["cellkin_winner"].to_numpy(dtype=str) for method, obs in annotated.items()
        }
        evaluations = {
            method: report.evaluate(
                truth, predicted[method], obs["cellkin_unknown"].to_numpy(bool), types
            )
            for method, obs in annotated.items()
        }
        report.draw_confusion(predicted, truth, types, picture)
    console.print()
    console.print(report.summary_table(evaluations))
    console.print(report.absent_sentence(evaluations), highlight=False)
    console.print()
    console.print(report.recall_table(evaluations, truth, reference))
    click.echo(f"\nConfusion matrices: {picture}")
    return evaluations


def run_demo() -> dict[str, Any]:
    """Run the demo in the working folder.

    Returns
    -------
    dict
        The figures by method, the seconds of each step, and the peak memory. ``as_expected`` is
        false if text is not better than its control.

    Raises
    ------
    UnavailableError
        If the data cannot be fetched.
    SystemExit
        If a command failed, with its exit code; its standard error is printed before.
    """
    started = time.monotonic()
    WORK.mkdir(exist_ok=True)
    for leftover in ("result.json", "confusion.png"):
        (WORK / leftover).unlink(missing_ok=True)
    if (WORK / "store").exists():
        shutil.rmtree(WORK / "store")
    steps, console = Steps(), Console()
    with steps.step("data", "mouse and human pancreas, NCBI genes (fetched once, digests checked)"):
        files = prepare(WORK)
    with ended_by_signals():
        outputs, genes = label_mouse(steps, files)
    evaluations = compare(steps, files, outputs, console)
    click.echo(f"\nThe ten genes nearest to INS:\n{genes.rstrip()}\n")
    total_s = time.monotonic() - started
    own_mib, command_mib = peak_memory_mib()
    margin = evaluations["text"].accuracy - evaluations["random"].accuracy
    result = {
        **{method: asdict(figures) for method, figures in evaluations.items()},
        "n_genes": files.n_genes,
        "n_cells": files.n_cells,
        "seconds": steps.seconds | {"total": round(total_s, 2)},
        "peak_memory_mib": {"demo": own_mib, "largest_command": command_mib},
        "as_expected": margin >= REQUIRED_MARGIN,
    }
    (WORK / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    click.echo(
        f"{total_s:.0f} s in total; peak memory {own_mib:,} MiB of the demo itself, "
        f"{command_mib:,} MiB of the largest command"
    )
    if margin < REQUIRED_MARGIN:
        click.echo(
            f"The accuracy of text is {margin:+.3f} above that of random gene vectors; at least "
            f"+{REQUIRED_MARGIN} is expected: something is broken.",
            err=True,
        )
    for method, figures in evaluations.items():
        click.echo(f"{method:<7} accuracy {figures.accuracy:.3f}  macro-F1 {figures.macro_f1:.3f}")
    return result


def peak_memory_mib() -> tuple[int, int]:
    """Return the peak resident memory so far.

    Returns
    -------
    tuple
        Of this process, and of its largest finished child, in MiB.
    """
    unit = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux KiB
    own, children = (
        resource.getrusage(who).ru_maxrss // unit
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own, children
