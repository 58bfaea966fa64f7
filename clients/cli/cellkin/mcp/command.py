"""``cellkin mcp``: tools for agents, over standard input and output."""

from pathlib import Path

import click

from cellkin.terminal.options import server_option
from cellkin.wire.errors import InputFileError, MissingDependencyError


@click.command()
@click.option(
    "--files",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Agents may read files of cells in this folder.  [default: no files]",
)
@server_option
def mcp(folder: Path | None, server: str | None) -> None:
    """Serve tools for agents by the Model Context Protocol.

    It speaks over standard input and output, so it is started by the program of the agent. Nothing
    is changed or written. Requests have the token of CELLKIN_TOKEN or of the profile, and its
    limits.
    """
    try:
        from cellkin.mcp.server import make_server
    except ImportError as error:
        raise MissingDependencyError(
            f"mcp needs {error.name}, which is not installed; pip install 'cellkin-client[mcp]'"
        ) from error
    from cellkin.cli.connection import connect
    from cellkin.cli.folder import Files

    if folder is not None and not folder.is_dir():
        raise InputFileError(f"--files {folder} is no folder; name one that exists")
    with connect(server) as client:
        make_server(client, Files(folder)).run()
