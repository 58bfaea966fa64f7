"""``cellkin serve``: run the server."""

import click


@click.command()
@click.option(
    "--store", required=True, metavar="URI", help="The store: a folder, or s3://, gs://, az://."
)
@click.option(
    "--listen", metavar="HOST:PORT", help="Port 0 takes a free one.  [default: 127.0.0.1:50051]"
)
@click.option("--print-config", is_flag=True, help="Print the settings as JSON and stop.")
def serve(store: str, listen: str | None, print_config: bool) -> None:
    """Answer gRPC queries from a store until told to stop."""
    # FAISS starts a thread a core for every request otherwise, and lets them spin.
    import os

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import logging
    import signal
    import sys
    import threading

    import structlog

    from cellkin.server.process import running
    from cellkin.server.settings import ServerSettings

    settings = ServerSettings(store=store)
    if listen is not None:
        settings = settings.model_copy(update={"listen": listen})
    if print_config:
        click.echo(settings.model_dump_json(indent=1))
        return
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with running(settings) as address:
        click.echo(f"serving on {address}")
        sys.stdout.flush()
        stop.wait()
