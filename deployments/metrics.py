"""Prometheus series of one replica, through Ray's metrics; Ray adds application, deployment and replica as tags."""

from deployments.observe import Observer
from deployments.payload import Usage
from deployments.series import Series, above_zero, make_all

# Ray exports the middle of its bucket for a number: of 1 and 2 it is the number itself, and near it further on
_SIZES = (0.5, 1.5, 2.5, 4.5, 8.5, 16.5, 32.5, 64.5, 128.5, 256.5)
_SHARES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75)

MEMORY = Series("memory_bytes", "gauge", "Memory of the replica: `kind` is host or gpu.", tags=("model", "kind"))
SERIES = (
    Series("batch_size", "histogram", "Chunks in a batch of the model.", boundaries=_SIZES),
    Series("batch_padding_waste", "histogram", "Share of padding in a batch.", boundaries=_SHARES),
    Series("forward_seconds", "histogram", "Time of a batch in the model."),
    Series("queue_seconds", "histogram", "Time a request waited in the replica."),
    Series("preprocess_seconds", "histogram", "Time of a request's preprocessing."),
    Series("postprocess_seconds", "histogram", "Time of a request's postprocessing."),
    Series("first_token_seconds", "histogram", "Time from a streamed request's arrival to its first token."),
    Series("isolated_failures", "counter", "Requests that failed while their neighbours did not."),
    Series("batch_splits", "counter", "Batches that failed and were tried again in halves."),
    Series("shared_answers", "counter", "Requests answered by an equal request's answer."),
    Series("input_tokens", "counter", "Tokens of inputs, where they are counted."),
    Series("reused_tokens", "counter", "Tokens of prompts known from earlier ones, which did not run again."),
    Series("output_tokens", "counter", "Tokens generated."),
    Series("waiting", "gauge", "Requests and chunks that wait in the replica."),
    Series("generating", "gauge", "Texts in the running batch of generation."),
    Series("batch_cost_ceiling", "gauge", "Padded cost of a batch that memory allows; set once it has shown."),
    Series("load_seconds", "gauge", "Time that this replica took to load its model."),
    Series("weight_bytes", "gauge", "Memory of the weights of this replica's model."),
    MEMORY,
)
"""Every series of a replica."""


class Metrics(Observer):
    """Counts what happens to the batches and requests of one model.

    Args:
        model: its name.
    """

    def __init__(self, model: str) -> None:
        self._made = make_all(SERIES, model=model)
        self._ceiling: float | None = None
        self._loaded: tuple[float, int] | None = None

    def loaded(self, seconds: float, weight_bytes: int) -> None:
        """The model was loaded."""
        self._loaded = seconds, weight_bytes

    def batch(self, size: int, padding_waste: float, forward_s: float) -> None:
        """See `Observer.batch`."""
        self._observe("batch_size", size)
        self._observe("batch_padding_waste", padding_waste)
        self._observe("forward_seconds", forward_s)

    def reused(self, tokens: int) -> None:
        """See `Observer.reused`."""
        if tokens:  # Ray's counters refuse 0
            self._made["reused_tokens"].inc(tokens)

    def split(self, size: int) -> None:
        """See `Observer.split`."""
        self._made["batch_splits"].inc()

    def ceiling(self, padded_cost: float) -> None:
        """See `Observer.ceiling`."""
        self._ceiling = padded_cost

    def request(self, queue_s: float, preprocess_s: float, postprocess_s: float) -> None:
        """See `Observer.request`."""
        self._observe("queue_seconds", queue_s)
        self._observe("preprocess_seconds", preprocess_s)
        self._observe("postprocess_seconds", postprocess_s)

    def failure(self) -> None:
        """See `Observer.failure`."""
        self._made["isolated_failures"].inc()

    def shared(self) -> None:
        """A request got the answer of an equal one."""
        self._made["shared_answers"].inc()

    def tokens(self, usage: Usage | None) -> None:
        """A request was computed; where its tokens are counted, these are they."""
        if usage is not None:
            for name, count in (("input_tokens", usage.input_tokens), ("output_tokens", usage.output_tokens)):
                if count:
                    self._made[name].inc(count)

    def first_token(self, seconds: float) -> None:
        """A stream brought its first token."""
        self._observe("first_token_seconds", seconds)

    def standing(self, waiting: int, generating: int, memory: dict[str, int]) -> None:
        """How the replica stands now, ``memory`` in bytes by kind; for Ray forgets a gauge once it is exported."""
        if self._ceiling is not None:
            self._made["batch_cost_ceiling"].set(self._ceiling)
        if self._loaded is not None:
            for name, value in zip(("load_seconds", "weight_bytes"), self._loaded, strict=True):
                self._made[name].set(value)
        self._made["waiting"].set(waiting)
        self._made["generating"].set(generating)
        for kind, count in memory.items():
            self._made["memory_bytes"].set(count, tags={"kind": kind})

    def _observe(self, name: str, value: float) -> None:
        self._made[name].observe(above_zero(value))
