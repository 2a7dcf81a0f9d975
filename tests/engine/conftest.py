"""Engines over the tiny models."""

import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from deployments.config import BatchConfig, MediaLimits, ModelConfig
from deployments.engine import Engine
from deployments.load import Loaded
from deployments.observe import Observer
from deployments.run import PipelineRunner
from deployments.warm_up import warm_up
from deployments.work import Done, Work
from tests.serve.local import local_pipeline
from tests.tiny import Case

PATIENCE_S = 60


class Answers:
    """Collects what an engine delivers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # with the works, whose numbers would otherwise be given to later ones
        self._done: dict[int, tuple[Work, Done]] = {}

    def deliver(self, finished: list[tuple[Work, Done]]) -> None:
        """As `deployments.batch.Inbox.deliver`."""
        with self._changed:
            self._done.update({id(work): (work, done) for work, done in finished})
            self._changed.notify_all()

    def of(self, works: list[Work]) -> list[Done]:
        """The outcomes of ``works``, once all are there."""
        with self._changed:
            assert self._changed.wait_for(lambda: all(id(work) in self._done for work in works), PATIENCE_S)
            return [self._done[id(work)][1] for work in works]


class Noted(Observer):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.wastes: list[float] = []
        self.ceilings: list[float] = []
        self.failures = 0
        self.splits = 0

    def batch(self, size: int, padding_waste: float, forward_s: float) -> None:
        """See `Observer`."""
        self.batches.append(size)
        self.wastes.append(padding_waste)

    def ceiling(self, padded_cost: float) -> None:
        """See `Observer`."""
        self.ceilings.append(padded_cost)

    def failure(self) -> None:
        """See `Observer`."""
        self.failures += 1

    def split(self, size: int) -> None:
        """See `Observer`."""
        self.splits += 1


class Served:
    """A runner with its engine."""

    def __init__(self, pipe: Any, task: str, batch: BatchConfig, check: bool) -> None:
        self.noted = Noted()
        config = ModelConfig(name="m", task=task, batch=batch)
        self.runner = PipelineRunner(config, Loaded(pipe, None), MediaLimits(), self.noted)
        if check:
            warm_up(self.runner, {})
        self.runner.use_batch(batch)
        self.noted.batches.clear()
        self.answers = Answers()
        self.turns = self.runner.turns()
        limits = self.runner.batch_limits(batch)
        self.engine = Engine(self.runner.stages, limits, self.noted, self.answers.deliver, self.turns)

    def hold(self, first: Any = "first", parameters: Any = None) -> Callable[[], None]:
        """Keep the model busy with ``first`` alone until what is returned is called."""
        go, started = threading.Event(), threading.Event()
        owner: Any = self.runner.forwarder if self.turns is None else self.turns
        name = "_forward" if self.turns is None else "turn"
        run = getattr(owner, name)

        def held(*args: Any) -> Any:
            setattr(owner, name, run)
            started.set()
            assert go.wait(PATIENCE_S)
            return run(*args)

        setattr(owner, name, held)
        self.engine.submit(Work(first, dict(parameters or {}), "id-first"))
        assert started.wait(PATIENCE_S)
        return go.set

    def prepared(self, chunks: int) -> None:
        """Wait until so many chunks wait for the model, which `hold` keeps."""
        with self.engine._changed:
            assert self.engine._changed.wait_for(lambda: len(self.engine._ready) >= chunks, PATIENCE_S)

    def ask(self, *works: Work) -> list[Any]:
        """Submit all at once; their outcomes."""
        for work in works:
            self.engine.submit(work)
        return [done.outcome for done in self.answers.of(list(works))]


@pytest.fixture
def serve_pipe() -> Iterator[Callable[..., Served]]:
    """Makes `Served` from a pipeline; closed at the end."""
    made: list[Served] = []

    def make(pipe: Any, task: str = "fake", check: bool = False, **batch: Any) -> Served:
        made.append(Served(pipe, task, BatchConfig(**batch), check))
        return made[-1]

    yield make
    for served in made:
        served.engine.close()


_pipeline = cache(local_pipeline.__wrapped__)  # others than the oracles of the served models: engines change theirs


@pytest.fixture
def load_case(checkpoints: Path) -> Callable[[Case], Any]:
    """The local pipeline of a case."""
    return lambda case: _pipeline(case, checkpoints)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
