"""``cellkin serve``: run the server."""

import json
from typing import TYPE_CHECKING, Any

import click

from cellkin.terminal.options import json_option

if TYPE_CHECKING:
    from cellkin.server.settings import ServerSettings


@click.command()
@click.option(
    "--store", envvar="CELLKIN_SERVER__STORE", required=True, metavar="URI",
    help="The store: a folder, or s3://, gs://, az://.",
)  # fmt: skip
@click.option(
    "--listen", metavar="HOST:PORT", help="Port 0 takes a free one.  [default: 127.0.0.1:50051]"
)
@click.option(
    "--index", "indexes", multiple=True, metavar="NAME",
    help="Load this cell index at the start; may be repeated.  [default: all]",
)  # fmt: skip
@click.option(
    "--text-model", "text_models", multiple=True, metavar="MODEL",
    help="Load this language model, for genes by free text; may be repeated.",
)  # fmt: skip
@click.option("--processes", type=int, metavar="N", help="Processes on the port.  [default: 1]")
@click.option("--tls-cert", metavar="PEM", help="The server's certificate chain.")
@click.option("--tls-key", metavar="PEM", help="Its key.")
@click.option("--tls-client-ca", metavar="PEM", help="Ask clients for certificates of these CAs.")
@click.option("--tokens", metavar="FILE", help="Bearer tokens: NAME ROLES sha256:DIGEST a line.")
@click.option(
    "--plaintext", is_flag=True, default=None, help="Listen beyond this machine without TLS."
)
@click.option("--metrics", metavar="HOST:PORT", help="Serve Prometheus metrics there.")
@click.option("--traces", metavar="URL", help="Send OpenTelemetry traces there by OTLP over HTTP.")
@click.option("--json-logs", is_flag=True, default=None, help="Log a JSON object a line.")
@click.option("--print-config", is_flag=True, help="Print the settings as JSON and stop.")
@json_option
def serve(print_config: bool, as_json: bool, **given: Any) -> None:
    """Answer gRPC queries from a store until told to stop.

    Every setting, those of limits among them, can be given as CELLKIN_SERVER__NAME in the
    environment; --print-config shows all of them.
    """
    import os
    import signal
    import sys
    import threading

    # FAISS reads these when it is imported. With a thread a core for every request, and threads
    # that spin while they wait, a busy server would compete with itself.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    settings = _settings({name: value for name, value in given.items() if value not in (None, ())})
    if print_config:
        click.echo(settings.model_dump_json(indent=1))
        return
    configure = configure_json_logs if settings.json_logs else configure_logs
    configure()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if settings.processes > 1:
        from cellkin.server.workers import running_processes

        server = running_processes(settings, configure)
    else:
        from cellkin.server.process import running

        server = running(settings)
    with server as address:
        click.echo(json.dumps({"serving": address}) if as_json else f"serving on {address}")
        sys.stdout.flush()
        stop.wait()


def _settings(given: dict[str, Any]) -> "ServerSettings":
    from pydantic import ValidationError

    from cellkin.server.settings import ServerSettings
    from cellkin.wire.errors import InvalidArgumentError

    try:
        return ServerSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, InvalidArgumentError):
            raise cause from None
        name = ".".join(map(str, first["loc"]))
        raise InvalidArgumentError(
            f"setting {name} is {first['input']!r}: {first['msg'].lower()}; "
            f"set it by CELLKIN_SERVER__{name.upper()} or the option of its name"
        ) from None


def configure_logs() -> None:
    """Write log lines for people."""
    import sys

    import structlog

    _configure(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))


def configure_json_logs() -> None:
    """Write log lines for programs."""
    import structlog

    _configure(structlog.processors.format_exc_info, structlog.processors.JSONRenderer())


def _configure(*last: Any) -> None:
    import logging
    import sys

    import structlog

    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.add_log_level,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
