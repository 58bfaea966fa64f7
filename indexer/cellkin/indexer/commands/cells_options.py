"""What `cellkin cells` commands share: options of references, indexes and jobs, and the job."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from cellkin.indexer.commands.options import literal_labels_option
from cellkin.store.machine import n_cores
from cellkin.terminal.options import reading_options, taxon_option
from cellkin.wire.errors import InvalidArgumentError

if TYPE_CHECKING:
    from cellkin.indexer.cells.job import Job
    from cellkin.indexer.cells.publish import IndexChoice

Command = Callable[..., None]


def reference_options(command: Command) -> Command:
    """Add the options of labeled cells."""
    for option in (
        click.option(
            "--label",
            required=True,
            metavar="COLUMN",
            help="The obs column of subtypes, or several from class to subtype: class,subtype.",
        ),
        click.option(
            "--batch",
            metavar="COLUMN",
            help="The obs column of donors or batches; without it each of several files is one.",
        ),
        literal_labels_option,
        taxon_option,
        reading_options,
    ):
        command = option(command)
    return command


def index_options(command: Command) -> Command:
    """Add the options of a neighbor index; see `index_choice`."""
    for option in (
        click.option(
            "--index",
            "wanted",
            default="auto",
            show_default=True,
            metavar="FACTORY",
            help="auto chooses by size and memory; or a FAISS factory string; or milvus://HOST:PORT.",
        ),
        click.option(
            "--recall",
            type=click.FloatRange(0, 1, min_open=True),
            default=0.98,
            show_default=True,
            help="The recall@10 the index is tuned to; what it reaches is measured and stored.",
        ),
        click.option(
            "--memory-gib",
            type=click.FloatRange(min=0, min_open=True),
            help="What the index may take where it is served.  [default: a share of this machine]",
        ),
    ):
        command = option(command)
    return command


def job_options(command: Command) -> Command:
    """Add the options of where cells are placed; see `job_of`."""
    for option in (
        click.option(
            "--device",
            default="auto",
            show_default=True,
            metavar="auto|cpu|cuda[:N]",
            help="Where cells are projected.",
        ),
        click.option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="Processes of this machine, or a Ray cluster.",
        ),
        click.option(
            "--address",
            metavar="HOST:PORT",
            help="The Ray cluster; without it one starts here.",
        ),
        click.option(
            "--gpus", type=click.FloatRange(min=0), default=0.0, help="Of a GPU, a Ray worker."
        ),
        click.option(
            "--workers", type=click.IntRange(min=1), help="Worker processes.  [default: one a core]"
        ),
    ):
        command = option(command)
    return command


@contextmanager
def job_of(
    wanted: str,
    recall: float,
    memory_gib: float | None,
    device: str,
    engine: str,
    address: str | None,
    gpus: float,
    workers: int | None,
    false_alarms: float | None = None,
    quick: bool = False,
) -> "Iterator[Job]":
    """Yield the job that the options describe; its workers end with the block.

    Parameters
    ----------
    wanted, recall, memory_gib
        As `index_options` names them.
    device, engine, address, gpus, workers
        As `job_options` names them.
    false_alarms
        Share of known cells that may be called unknown; None for the default.
    quick
        Whether no label is left out to measure whether its cells are found unknown.

    Raises
    ------
    InvalidArgumentError
        If an option of Ray is given without it.
    """
    from cellkin.indexer.cells.engines import LocalEngine
    from cellkin.indexer.cells.fitting import Judging
    from cellkin.indexer.cells.job import Job
    from cellkin.indexer.cells.ray_engine import RayEngine
    from cellkin.indexer.spaces.classifier import Votes
    from cellkin.terminal.console import progress_bar

    if engine != "ray" and (address or gpus):
        raise InvalidArgumentError("--address and --gpus are of --engine ray; give that too")
    n_workers = workers or n_cores()
    where = RayEngine(address, n_workers, gpus) if engine == "ray" else LocalEngine(n_workers)
    votes = Votes() if false_alarms is None else Votes(false_alarms=false_alarms)
    choice = index_choice(wanted, recall, memory_gib)
    with closing(where):
        judging = Judging.CELLS if quick else Judging.LEAVE_OUT
        yield Job(where, device, choice, votes, progress_bar, judging)


def index_choice(wanted: str, recall: float, memory_gib: float | None) -> "IndexChoice":
    """Return the choice of a neighbor index that the options of `index_options` describe."""
    from cellkin.indexer.cells.publish import IndexChoice

    memory = None if memory_gib is None else int(memory_gib * 2**30)
    return IndexChoice(wanted, recall, memory)
