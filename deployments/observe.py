"""What a replica tells of its batches; `deployments.metrics` makes Prometheus series of it. No Ray here."""


class Observer:
    """Hears of everything and forgets it.

    Called on the model's and the finisher's thread; implementations must not block.
    """

    def batch(self, size: int, padding_waste: float, forward_s: float) -> None:
        """A batch of ``size`` chunks took ``forward_s`` seconds, with this share of padding."""

    def reused(self, tokens: int) -> None:
        """So many tokens of prompts did not run, as they were known from earlier ones."""

    def split(self, size: int) -> None:
        """A batch of ``size`` chunks failed and is tried again in halves."""

    def ceiling(self, padded_cost: float) -> None:
        """Memory allows batches up to this padded cost from now on."""

    def request(self, queue_s: float, preprocess_s: float, postprocess_s: float) -> None:
        """A request was answered."""

    def failure(self) -> None:
        """A request failed alone; its neighbours were answered."""
