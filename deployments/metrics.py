"""Prometheus series of one replica, through Ray's metrics; Ray adds application, deployment and replica as tags."""

from ray.serve import metrics

from deployments.observe import Observer

_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
_SIZES: list[float] = [1, 2, 4, 8, 16, 32, 64, 128, 256]
_SHARES = [0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75]
_TAGS = ("model",)


class Metrics(Observer):
    """Counts what happens to the batches and requests of one model.

    Args:
        model: its name.
    """

    def __init__(self, model: str) -> None:
        self._batch_size = _histogram("batch_size", "Chunks in a batch of the model.", _SIZES, model)
        self._waste = _histogram("batch_padding_waste", "Share of padding in a batch.", _SHARES, model)
        self._forward = _histogram("forward_seconds", "Time of a batch in the model.", _SECONDS, model)
        self._queue = _histogram("queue_seconds", "Time a request waited in the replica.", _SECONDS, model)
        self._preprocess = _histogram("preprocess_seconds", "Time of a request's preprocessing.", _SECONDS, model)
        self._postprocess = _histogram("postprocess_seconds", "Time of a request's postprocessing.", _SECONDS, model)
        self._failures = _counter("isolated_failures", "Requests that failed while their neighbours did not.", model)
        self._splits = _counter("batch_splits", "Batches that failed and were tried again in halves.", model)
        self._shared = _counter("shared_answers", "Requests answered by an equal request's answer.", model)
        self._ceiling: metrics.Gauge = metrics.Gauge(
            "pipeline_graph_batch_cost_ceiling", "Padded cost of a batch that memory allows.", _TAGS
        )
        self._ceiling.set_default_tags({"model": model})

    def batch(self, size: int, padding_waste: float, forward_s: float) -> None:
        """See `Observer.batch`."""
        self._batch_size.observe(size)
        self._waste.observe(max(padding_waste, 1e-9))  # Ray refuses 0
        self._forward.observe(max(forward_s, 1e-9))

    def split(self, size: int) -> None:
        """See `Observer.split`."""
        self._splits.inc()

    def ceiling(self, padded_cost: float) -> None:
        """See `Observer.ceiling`."""
        self._ceiling.set(padded_cost)

    def request(self, queue_s: float, preprocess_s: float, postprocess_s: float) -> None:
        """See `Observer.request`."""
        self._queue.observe(max(queue_s, 1e-9))
        self._preprocess.observe(max(preprocess_s, 1e-9))
        self._postprocess.observe(max(postprocess_s, 1e-9))

    def failure(self) -> None:
        """See `Observer.failure`."""
        self._failures.inc()

    def shared(self) -> None:
        """A request got the answer of an equal one."""
        self._shared.inc()


def _histogram(name: str, says: str, boundaries: list[float], model: str) -> metrics.Histogram:
    made = metrics.Histogram(f"pipeline_graph_{name}", says, boundaries=boundaries, tag_keys=_TAGS)
    made.set_default_tags({"model": model})
    return made


def _counter(name: str, says: str, model: str) -> metrics.Counter:
    made = metrics.Counter(f"pipeline_graph_{name}", says, tag_keys=_TAGS)
    made.set_default_tags({"model": model})
    return made
