"""Logging of the server: its own lines and those of libraries in one format, on standard error.

Lines never contain expression, vectors, names of genes or cells, or tokens.
"""

import logging
import os
import sys
from importlib.metadata import version
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import structlog
from structlog.typing import EventDict, Processor

from cellkin.server.calls import Call
from cellkin.server.settings import ServerSettings
from cellkin.wire.errors import InputFileError

_log = structlog.get_logger("cellkin.server")
_requests = structlog.get_logger("cellkin.requests")


def configure_logs(as_json: bool, audit: Path | None = None) -> None:
    """Configure logging, as one JSON object per line or as readable text.

    Libraries log from WARNING, cellkin from INFO.

    Parameters
    ----------
    as_json
        Whether lines are JSON.
    audit
        File to which the lines of ``cellkin.audit`` are appended as JSON, besides. It is opened
        again when it was moved.

    Raises
    ------
    InputFileError
        If the file cannot be written.
    """
    last: list[Processor] = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    if as_json:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    first: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_process,
    ]
    structlog.configure(
        processors=[*first, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=first,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("cellkin").setLevel(logging.INFO)
    logging.getLogger("cellkin.audit").handlers = [audit_handler(audit, first)] if audit else []
    logging.captureWarnings(True)


def audit_handler(path: Path, first: list[Processor]) -> logging.Handler:
    """Return what appends JSON to a file, which is opened again when it was moved.

    Raises
    ------
    InputFileError
        If the file cannot be written.
    """
    try:
        handler = WatchedFileHandler(path, encoding="utf-8")
    except OSError as error:
        raise InputFileError(f"audit log {path} cannot be written: {error.strerror}") from error
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=first,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    return handler


def _add_process(_logger: Any, _name: str, event: EventDict) -> EventDict:
    event["pid"] = os.getpid()
    return event


def log_start(settings: ServerSettings) -> None:
    """Log the start of a server: its version and the settings that are not defaults."""
    tls = "none" if settings.tls_cert is None else "server"
    _log.info(
        "server starts",
        version=version("cellkin"),
        tls="clients too" if settings.tls_client_ca else tls,
        tokens=str(settings.tokens or "none"),
        admin=settings.administered_by,
        metrics=settings.metrics or "none",
        cores=settings.cores,
        settings=_changed(settings),
    )


def log_request(call: Call, code: str, seconds: float) -> None:
    """Log a finished request.

    Parameters
    ----------
    call
        The request.
    code
        Name of its gRPC status code.
    seconds
        Seconds from its arrival to its end.
    """
    _requests.info(
        "request", id=call.id, method=call.method, client=call.client, code=code,
        seconds=round(seconds, 6), n_cells=call.n_cells, versions=call.versions,
    )  # fmt: skip


def _changed(settings: ServerSettings) -> dict[str, Any]:
    shown = settings.model_dump(mode="json")
    return {
        name: _without_password(shown[name])
        for name, field in ServerSettings.model_fields.items()
        if getattr(settings, name) != field.get_default(call_default_factory=True)
    }


def _without_password(value: Any) -> Any:
    if not isinstance(value, str) or "@" not in value or "://" not in value:
        return value
    parts = urlsplit(value)
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))
