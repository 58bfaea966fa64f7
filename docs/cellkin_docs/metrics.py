"""The table of metrics, from those that a server registers."""

from cellkin.server.metrics import Metrics

SUFFIXES = {"counter": "_total"}


def table() -> str:
    """Return all metrics of a server as a table of Markdown."""
    registry = Metrics().registry
    # What a collector registers is told nowhere but in private attributes.
    labels = {
        collector._name: collector._labelnames
        for collector in registry._collector_to_names
        if hasattr(collector, "_labelnames")
    }
    rows = "".join(
        f"| `{family.name}{SUFFIXES.get(family.type, '')}` | {family.type} "
        f"| {', '.join(labels[family.name])} | {family.documentation} |\n"
        for family in registry.collect()
        if family.name in labels
    )
    return f"| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n{rows}"
