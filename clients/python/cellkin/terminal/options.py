"""Options several commands have."""

import click

server_option = click.option(
    "--server",
    metavar="HOST:PORT",
    help="The cellkin server.  [default: CELLKIN_ADDRESS, a profile, or 127.0.0.1:50051]",
)
taxon_option = click.option(
    "--taxon", type=int, default=0, metavar="ID", help="NCBI taxonomy id: 9606 human, 10090 mouse."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
