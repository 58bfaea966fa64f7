"""``cellkin demo``: measure on real cells what gene texts contribute."""

import json
import sys
from contextlib import nullcontext, redirect_stdout

import click

from cellkin.terminal.options import json_option
from cellkin.wire.errors import FailedPreconditionError, MissingDependencyError


@click.command()
@json_option
def demo(as_json: bool) -> None:
    """Demonstrate what gene texts contribute: label mouse cells by human ones.

    Downloads two wheels for their data, then prints and runs the commands a user would type. No
    ortholog table is used; the control replaces the vector of each text by a random one. It takes a
    minute or two. Everything is kept in .demo in the working folder.
    """
    try:
        from cellkin.indexer.demo.run import run_demo
    except ImportError as error:
        raise MissingDependencyError(
            f"the demo needs {error.name}, which is not installed; "
            "pip install 'cellkin[cells,cpu,embed,evaluate,server]' 'cellkin-client[anndata]'"
        ) from error
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        result = run_demo()
    if as_json:
        click.echo(json.dumps(result))
    if not result["as_expected"]:
        raise FailedPreconditionError("text did not beat its control")
