"""What is put aside is counted before anybody reads it, and does not pile up."""

from cellkin.server.metrics import _MOST_UNCOUNTED, Metrics


def test_counts_are_whole_however_they_are_read() -> None:
    metrics = Metrics()
    for seconds in (0.1, 0.2):
        metrics.answered("/m", "OK", seconds, 0.0, 0.0)
    metrics.message_answered("/m")
    metrics.searched("trio@1", 5, 2, 0.5)
    (family,) = metrics.registry.restricted_registry(["cellkin_requests_total"]).collect()
    assert [sample.value for sample in family.samples if sample.name.endswith("total")] == [2]
    read = metrics.registry.get_sample_value
    assert read("cellkin_stream_messages_total", {"method": "/m"}) == 1
    assert read("cellkin_index_queries_total", {"index": "trio@1"}) == 5
    assert read("cellkin_index_joined_requests_total", {"index": "trio@1"}) == 1
    assert metrics.n_answered == 2


def test_what_nobody_reads_does_not_pile_up() -> None:
    metrics = Metrics()
    for _ in range(2 * _MOST_UNCOUNTED + 7):
        metrics.message_answered("/m")
    assert len(metrics._uncounted) == 7
    read = metrics.registry.get_sample_value
    assert read("cellkin_stream_messages_total", {"method": "/m"}) == 2 * _MOST_UNCOUNTED + 7
