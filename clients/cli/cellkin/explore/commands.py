"""``cellkin explore``: serve pages for a browser."""

from pathlib import Path

import click

from cellkin.terminal.options import server_option
from cellkin.wire.errors import InvalidArgumentError, MissingDependencyError


@click.command()
@server_option
@click.option(
    "--listen",
    default="127.0.0.1:5006",
    show_default=True,
    metavar="HOST:PORT",
    help="Where browsers connect; port 0 takes a free one.",
)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Also accept browsers that reach the pages by this name, such as that of a proxy; may be "
    "repeated.",
)
@click.option(
    "--files",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Let users label files of this folder, without an upload.",
)
@click.option(
    "--max-upload",
    "max_upload_mb",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    metavar="MB",
    help="Largest file that may be uploaded.",
)
def explore(
    server: str | None,
    listen: str,
    origins: tuple[str, ...],
    files: Path | None,
    max_upload_mb: int,
) -> None:
    """Explore a server in the browser: references, genes, contrasts; label files.

    Whoever reaches the pages may read all that the token of CELLKIN_TOKEN or of the profile may.
    Uploaded files are kept until the tab is closed.
    """
    try:
        from cellkin.explore.serving import Settings, serve
    except ImportError as error:
        raise MissingDependencyError(
            f"explore needs {error.name}, which is not installed; "
            "pip install 'cellkin-client[explore]'"
        ) from error

    host, port = parse_listen(listen)
    serve(Settings(server, host, port, origins, files, max_upload_mb))


def parse_listen(address: str) -> tuple[str, int]:
    """Split ``HOST:PORT``.

    Raises
    ------
    InvalidArgumentError
        If it is something else.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InvalidArgumentError(
            f"--listen {address!r} is no HOST:PORT; give one, such as 127.0.0.1:5006",
            field="listen",
        )
    return host.strip("[]"), int(port)
