"""``cellkin genes embed``: embed gene texts."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellkin.indexer.commands.options import corpus_option, store_option
from cellkin.indexer.models.recipe import Runtime
from cellkin.terminal.options import json_option
from cellkin.wire.errors import FailedPreconditionError
from cellkin.wire.terms import DEFAULT_MODEL

if TYPE_CHECKING:
    from cellkin.indexer.embeddings.job import EmbedReport, Pending
    from cellkin.indexer.models.contract import CostEstimate, TokenCounts


@click.command()
@store_option
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="The embedding model, or a control: random:DIM:SEED, permuted:NAME[@VERSION][:SEED], "
    "symbol-only:MODEL.",
)
@corpus_option
@click.option(
    "--for",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE",
    help="Embed only the genes of this file of cells; repeat for more. A later run without it "
    "embeds the rest, and reuses these.",
)
@click.option(
    "--runtime",
    type=click.Choice([each.value for each in Runtime]),
    default=Runtime.AUTO.value,
    show_default=True,
    help="What computes an encoder: OpenVINO, of cellkin[fast], in bfloat16 where the CPU can, or "
    "torch. auto takes OpenVINO where it is installed and fits.",
)
@click.option("--allow-download", is_flag=True, help="Fetch weights that are not here.")
@click.option("--dry-run", is_flag=True, help="Say what there is to do and what it costs, no more.")
@click.option("--yes", is_flag=True, help="Do not ask before spending money.")
@json_option
def embed(
    uri: str,
    model: str,
    corpus: str,
    files: tuple[Path, ...],
    runtime: str,
    allow_download: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Embed the texts of a corpus with a language model.

    An interrupted run is resumed. Vectors of the same texts that an earlier version has, by the
    same model, runtime and precision, are reused.
    """
    from time import perf_counter

    from cellkin.indexer.embeddings.job import embed_genes
    from cellkin.indexer.embeddings.measured import measured_genes
    from cellkin.store.catalog import Kind
    from cellkin.store.store import Store
    from cellkin.terminal.console import progress_bar
    from cellkin.wire.names import parse_version_name

    store = Store.open(uri)
    start_s = perf_counter()
    source = parse_version_name(corpus, "corpus")
    only = None
    if files:
        only = measured_genes(store, store.catalog.resolve(Kind.CORPUS, source), files)
    with progress_bar("embedding texts") as progress:
        report = embed_genes(
            store,
            model,
            source,
            progress,
            _approval(dry_run=dry_run, yes=yes, as_json=as_json),
            allow_download=allow_download,
            runtime=runtime,
            only=only,
        )
    seconds = perf_counter() - start_s
    if as_json:
        click.echo(json.dumps(_as_json(report) | {"seconds": seconds}))
        return
    click.echo(
        f"embedding {report.entry.full_name}: {report.n_genes} genes, "
        f"{report.n_texts} distinct texts ({report.n_embedded} embedded now, "
        f"{report.n_resumed} by an interrupted run, {report.n_reused} for an earlier version), "
        f"{seconds:.1f} s" + _speed(report)
    )
    if report.counts.n_long:
        click.echo(_long_texts(report.counts))
    if left_out := _left_out(report):
        click.echo(
            f"not embedded: {left_out:,} genes that are in no FILE; run it again without --for to "
            "embed them too"
        )
    click.echo(f"digest {report.entry.digest}")


def _approval(*, dry_run: bool, yes: bool, as_json: bool) -> "Callable[[Pending], None]":
    def approve(pending: "Pending") -> None:
        cost = pending.cost
        if dry_run:
            click.echo(json.dumps(_plan(pending)) if as_json else _described(pending))
            raise click.exceptions.Exit(0)
        if cost is None or not cost.n_requests or yes:
            return
        if not sys.stdin.isatty():
            raise FailedPreconditionError(
                f"embedding {pending.name} costs {_price(cost)} for {_tokens(cost)} tokens, and "
                "nobody is there to be asked: pass --yes to spend it, or --dry-run to see more"
            )
        click.echo(_described(pending), err=True)
        click.confirm("Send them?", abort=True, err=True)

    return approve


def _plan(pending: "Pending") -> dict[str, object]:
    cost = pending.cost
    plan: dict[str, object] = {
        "model": pending.name,
        "n_texts": pending.n_texts,
        "n_to_embed": pending.counts.n_texts,
        **_token_fields(pending.counts),
        "n_requests": cost.n_requests if cost else 0,
        "dollars": cost.dollars if cost else 0.0,
    }
    if pending.seconds is not None:
        plan |= {"computed_by": pending.computed_by, "seconds": round(pending.seconds(), 1)}
    return plan


def _described(pending: "Pending") -> str:
    counts = pending.counts
    lines = [
        f"model {pending.name}: {pending.n_texts:,} distinct texts, "
        f"{pending.n_texts - counts.n_texts:,} of them with a vector; "
        f"to embed: {counts.n_texts:,} texts, {_tokens(counts)} tokens"
    ]
    if pending.seconds is not None:
        by = f"by {pending.computed_by}, " if pending.computed_by else ""
        lines.append(f"time: {by}about {pending.seconds():,.0f} s, as a few of the texts took")
    if pending.cost is not None:
        lines.append(f"cost: {_price(pending.cost)} in {pending.cost.n_requests:,} requests")
    if counts.n_long:
        lines.append(_long_texts(counts))
    return "\n".join(lines)


def _tokens(counts: "TokenCounts | CostEstimate") -> str:
    return ("" if counts.exact else "at most ") + f"{counts.n_tokens:,}"


def _price(cost: "CostEstimate") -> str:
    if cost.dollars is None:
        return "an amount that is not known here"
    return ("" if cost.exact else "at most ") + f"${cost.dollars:,.4f}"


def _long_texts(counts: "TokenCounts") -> str:
    return f"longer than the window, so read in parts: {counts.n_long:,} texts"


def _speed(report: "EmbedReport") -> str:
    if not report.n_embedded:
        return ""
    texts_s = report.n_embedded / report.embed_s
    tokens_s = report.counts.n_tokens / report.embed_s
    most = "" if report.counts.exact else "at most "
    return f", {texts_s:,.0f} texts/s, {most}{tokens_s:,.0f} tokens/s"


def _token_fields(counts: "TokenCounts") -> dict[str, object]:
    return {"n_tokens": counts.n_tokens, "tokens_exact": counts.exact, "n_long": counts.n_long}


def _left_out(report: "EmbedReport") -> int:
    """Return how many genes that have a text are in none of the files."""
    from cellkin.store.partial import n_left_out

    return n_left_out(report.entry.manifest)


def _as_json(report: "EmbedReport") -> dict[str, object]:
    return {
        "embedding": report.entry.full_name,
        "digest": report.entry.digest,
        "n_genes": report.n_genes,
        "n_texts": report.n_texts,
        "n_embedded": report.n_embedded,
        "n_resumed": report.n_resumed,
        "n_reused": report.n_reused,
        **_token_fields(report.counts),
        "embed_s": report.embed_s,
        "n_left_out": _left_out(report),
    }
