"""A pipeline without a model, as ``task: fake``: for load, failure and autoscaling trials of the server itself."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from deployments.collate import Column


class FakePipeline:
    """Echoes its inputs, through the same stages as a real pipeline.

    Args:
        load_error: message of a failure while loading; None loads.
        forward_s: seconds that every batch takes, however many inputs it has.
        gate: a file; while it exists every batch waits, and says so by a line in it. None waits for nothing.
        load_s: seconds that loading takes.
    """

    task = "fake"
    tokenizer = None
    feature_extractor = None
    image_processor = None

    def __init__(
        self, load_error: str | None = None, forward_s: float = 0.0, gate: str | None = None, load_s: float = 0.0
    ) -> None:
        time.sleep(load_s)
        if load_error is not None:
            raise RuntimeError(load_error)
        self._forward_s = forward_s
        self._gate = None if gate is None else Path(gate)
        self.batch_sizes: list[int] = []

    def _sanitize_parameters(
        self, sleep_s: float = 0.0, fail_on: Any = None, **_: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        return {}, {"sleep_s": sleep_s, "fail_on": fail_on}, {}

    def __call__(self, inputs: Any, **parameters: Any) -> Any:
        """``{"echo": input, "batch_size": n}``, after ``sleep_s`` and ``forward_s`` seconds."""
        return self.run_single(inputs, *self._sanitize_parameters(**parameters))

    def run_single(self, inputs: Any, preprocess: Any, forward: Any, postprocess: Any) -> Any:
        """The three stages on one input."""
        return self.postprocess(self.forward(self.preprocess(inputs, **preprocess), **forward), **postprocess)

    def preprocess(self, inputs: Any) -> dict[str, Any]:
        """The input as it is."""
        return {"echo": inputs}

    def forward(self, model_inputs: dict[str, Any], sleep_s: float = 0.0, fail_on: Any = None) -> dict[str, Any]:
        """One batch: lists where there are several inputs.

        Raises:
            RuntimeError: an input equals ``fail_on``.
        """
        echo = model_inputs["echo"]
        many = isinstance(echo, Column)
        count = len(echo) if many else 1
        self.batch_sizes.append(count)
        self._wait_at_gate()
        time.sleep(self._forward_s + sleep_s)
        if fail_on is not None and fail_on in (echo if many else [echo]):
            raise RuntimeError("the fake model fails on this input, as it was told to")
        return {"echo": echo, "batch_size": [count] * count if many else count}

    def _wait_at_gate(self) -> None:
        if self._gate is None:
            return
        with suppress(FileNotFoundError), self._gate.open("r+") as file:  # which never makes it anew
            file.seek(0, 2)
            file.write("waits\n")
        while self._gate.exists():
            time.sleep(0.01)

    def postprocess(self, model_outputs: dict[str, Any]) -> dict[str, Any]:
        """The answer to one input."""
        return dict(model_outputs)
