"""Models that are built in a process where others run. No Ray.

While transformers builds a model, torch's default dtype is that of the model (``modeling_utils.local_torch_dtype``, of
transformers 5.23), for the whole process: tensors that a running model makes meanwhile would be of it too. So nothing
runs in that moment. It is short, as the weights are read before and after it; a dtype that is the default already stops
nobody.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Gate:
    """Many may run at a time, or one may build; who builds goes first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = self._building = 0  # building: who does, and who waits to
        self._builder: int | None = None
        self._mine = threading.local()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Held for a piece of work; within itself it is free."""
        depth = getattr(self._mine, "depth", 0)
        if depth == 0 and not self._builds():
            with self._changed:
                self._changed.wait_for(lambda: not self._building)
                self._running += 1
        self._mine.depth = depth + 1
        try:
            yield
        finally:
            self._mine.depth = depth
            if depth == 0 and not self._builds():
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()

    @contextmanager
    def building(self) -> Iterator[None]:
        """Held alone. Free within itself, and within a piece of work, which would wait for its own end."""
        if self._builds() or getattr(self._mine, "depth", 0) > 0:
            yield
            return
        with self._changed:
            self._building += 1
            self._changed.wait_for(lambda: not self._running and self._builder is None)
            self._builder = threading.get_ident()
        try:
            yield
        finally:
            with self._changed:
                self._building -= 1
                self._builder = None
                self._changed.notify_all()

    def _builds(self) -> bool:
        return self._builder == threading.get_ident()

    def hold_stages(self, stages: tuple[Any, Any, Any], turns: Any) -> None:
        """Let what a model's threads call be pieces of work.

        Args:
            stages: its preparer, forwarder and finisher.
            turns: its running batch of text generation, or None.
        """
        preparer, forwarder, finisher = stages
        called = [(preparer, "prepare"), (forwarder, "run"), (turns, "turn")]
        called += [(finisher, name) for name in ("finish", "tell", "hear")]
        for part, name in called:
            if part is not None:
                setattr(part, name, self._held(getattr(part, name)))

    def _held(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.running():
                return method(*args, **kwargs)

        return call


def guard(gate: Gate) -> None:
    """From now on, have transformers build models of another dtype only while nothing runs."""
    import torch
    from transformers import modeling_utils

    theirs = modeling_utils.local_torch_dtype

    @contextmanager
    def guarded(dtype: Any, *args: Any) -> Iterator[None]:
        if dtype == torch.get_default_dtype():
            with theirs(dtype, *args):
                yield
            return
        with gate.building(), theirs(dtype, *args):
            yield

    modeling_utils.local_torch_dtype = guarded
