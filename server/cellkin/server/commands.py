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
@click.option(
    "--device", metavar="DEVICE",
    help="Where large blocks of queries are searched: cpu, cuda or cuda:N.  [default: cpu]",
)  # fmt: skip
@click.option("--tls-cert", metavar="PEM", help="The server's certificate chain.")
@click.option("--tls-key", metavar="PEM", help="Its key.")
@click.option("--tls-client-ca", metavar="PEM", help="Ask clients for certificates of these CAs.")
@click.option("--tokens", metavar="FILE", help="Bearer tokens: NAME ROLES sha256:DIGEST a line.")
@click.option(
    "--admin", type=click.Choice(["local", "token", "none"]),
    help="Who may change what is served; see docs/server.md.",
)  # fmt: skip
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
    import sys

    from cellkin.store.machine import limit_threads

    # Requests already run in parallel; a thread per core in each would oversubscribe the cores.
    limit_threads(1)
    settings = _settings({name: value for name, value in given.items() if value not in (None, ())})
    if print_config:
        click.echo(settings.model_dump_json(indent=1))
        return
    from cellkin.server.logs import configure_logs, log_start
    from cellkin.server.stopping import StopRequest

    configure_logs(settings.json_logs, settings.audit_log)
    log_start(settings)
    if settings.processes > 1:
        from cellkin.server.workers import running_processes

        server = running_processes(settings)
    else:
        from cellkin.server.process import running

        server = running(settings)
    with StopRequest() as stop, server as address:
        click.echo(json.dumps({"serving": address}) if as_json else f"serving on {address}")
        sys.stdout.flush()
        stop.wait()


def _settings(given: dict[str, Any]) -> "ServerSettings":
    import os

    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from cellkin.server.settings import PREFIX, ServerSettings, check_environment
    from cellkin.wire.errors import InvalidArgumentError

    check_environment(os.environ)
    try:
        return ServerSettings(**given)
    except SettingsError as error:
        raise InvalidArgumentError(
            f'{error}; in the environment a list is JSON: {PREFIX}INDEXES=\'["a", "b"]\''
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, InvalidArgumentError):
            raise cause from None
        name = ".".join(map(str, first["loc"]))
        raise InvalidArgumentError(
            f"setting {name} is {first['input']!r}: {first['msg'].lower()}; "
            f"set it by {PREFIX}{name.upper()} or the option of its name"
        ) from None
