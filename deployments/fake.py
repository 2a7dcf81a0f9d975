"""A pipeline without a model, as ``task: fake``: for load, failure and autoscaling trials of the server itself."""

import time
from typing import Any


class FakePipeline:
    """Echoes its inputs.

    Args:
        load_error: message of a failure while loading; None loads.
        forward_s: seconds that every call takes, however many inputs it has.
    """

    task = "fake"
    feature_extractor = None

    def __init__(self, load_error: str | None = None, forward_s: float = 0.0) -> None:
        if load_error is not None:
            raise RuntimeError(load_error)
        self._forward_s = forward_s
        self.batch_sizes: list[int] = []

    def _sanitize_parameters(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        return {}, {}, {}

    def __call__(
        self, inputs: Any, batch_size: int = 1, sleep_s: float = 0.0, fail_on: Any = None, **_: Any
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """``{"echo": input, "batch_size": n}`` for each input, after ``sleep_s`` and ``forward_s`` seconds.

        Raises:
            RuntimeError: an input equals ``fail_on``.
        """
        items = inputs if isinstance(inputs, list) else [inputs]
        self.batch_sizes.append(len(items))
        time.sleep(self._forward_s + sleep_s)
        if fail_on is not None and fail_on in items:
            raise RuntimeError("the fake model fails on this input, as it was told to")
        answers = [{"echo": item, "batch_size": len(items)} for item in items]
        return answers if isinstance(inputs, list) else answers[0]
