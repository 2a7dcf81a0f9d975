"""The local side: ``transformers.pipeline()`` in this process, with torch's default threads."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class LocalPipeline:
    """A pipeline on the CPU, loaded at once.

    Args:
        task: of ``pipeline()``.
        model: folder of the checkpoint.
        parameters: of every call.
    """

    def __init__(self, task: str, model: Path, parameters: dict[str, Any]) -> None:
        import transformers

        self._pipe: Any = transformers.pipeline(task, model=str(model), device="cpu")
        self._parameters = parameters

    def warm_up(self, items: Sequence[Any]) -> None:
        """Answer some inputs, so that the first measure does not pay for what happens once."""
        for item in items:
            self.answer(item)

    def answer(self, item: Any) -> Any:
        """The answer to one input."""
        return self._pipe(item, **self._parameters)

    def rate(self, items: list[Any], batch_size: int) -> float:
        """Inputs per second of one call with the whole list."""
        started = time.perf_counter()
        answers = list(self._pipe(items, batch_size=batch_size, **self._parameters))
        spent = time.perf_counter() - started
        assert len(answers) == len(items), f"{len(answers)} answers to {len(items)} inputs"
        return len(items) / spent

    def latencies(self, items: Sequence[Any]) -> list[float]:
        """Seconds of each call, one input at a time."""
        spent = []
        for item in items:
            started = time.perf_counter()
            self.answer(item)
            spent.append(time.perf_counter() - started)
        return spent
