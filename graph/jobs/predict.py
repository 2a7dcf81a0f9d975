"""What answers the rows of a window: the stages of a replica in this process, with the server's own planner."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

from deployments.config import MediaLimits, ModelConfig
from deployments.engine import Engine
from deployments.errors import PipelineGraphError
from deployments.forward import Forwarder
from deployments.load import load
from deployments.observe import Observer
from deployments.parameters import merge_parameters
from deployments.plan import padded_cost
from deployments.run import PipelineRunner
from deployments.tensors import unpack_tensors
from deployments.warm_up import warm_up
from deployments.work import Chunk, Done, Work
from graph.encode import element
from graph.jobs.answering import Rows
from graph.jobs.figures import Figures
from graph.parts import files_of

_TEXTS_AHEAD, _FILES_AHEAD = 1024, 64


@dataclass(eq=False)
class RowWork(Work):
    """A row on its way through the stages."""

    settle: Callable[[Done], None] = field(default=lambda _: None)


class LocalPredictor:
    """A model loaded here, with the three stages and the planner of a replica.

    All rows of the windows in hand wait for the planner together, longest first, so that it finds neighbours of their
    length: what is known of a length before it is counted in tokens is that of the text.

    Args:
        config: the model's configuration; the task is set.
        parameters: of every call.

    Raises:
        ModelLoadError: the model cannot be loaded, or cannot answer the task's example.
    """

    def __init__(self, config: ModelConfig, parameters: Mapping[str, Any]) -> None:
        self._counter = _Counter()
        self._runner = PipelineRunner(config, load(config), MediaLimits(), self._counter)
        self.spec = self._runner.spec
        self._given = dict(parameters)
        self._defaults = dict(config.parameters)
        if config.warm_up:
            warm_up(self._runner, {**self._defaults, **self._given})
        self._runner.use_batch(config.batch)
        preparer, forwarder, finisher = self._runner.stages
        self._engine = Engine(
            (preparer, cast(Forwarder, _Counting(forwarder, self._counter)), finisher),
            self._runner.batch_limits(config.batch),
            self._counter,
            _deliver,
            self._runner.turns(),
        )
        media = bool(files_of(self.spec.inputs))
        self._places = threading.BoundedSemaphore(_FILES_AHEAD if media else _TEXTS_AHEAD)
        self._readers = ThreadPoolExecutor(4, "read-file") if media else None
        self._merged: dict[str, Any] | None = None

    def submit(self, rows: Rows, count: int, broken: Mapping[int, str]) -> Callable[[], list[Any]]:
        """See `graph.jobs.answering.Predictor.submit`; returns when all rows have their place."""
        window = _Open(count)
        texts: list[tuple[int, Any]] = []
        for row in range(count):
            if row in broken:
                window.settle(row, PipelineGraphError(broken[row]))
            elif self._readers is not None:
                self._places.acquire()
                self._readers.submit(self._start, window, rows, row)
            else:
                try:
                    texts.append((row, rows.input(row)))
                except Exception as error:
                    window.settle(row, error)
        for row, item in sorted(texts, key=lambda text: -_length(text[1])):
            self._places.acquire()
            self._start(window, rows, row, item)
        return window.wait

    def _start(self, window: "_Open", rows: Rows, row: int, item: Any = None) -> None:
        """Hand one row to the engine; on a thread of its own where it is a file."""
        decoder = self._runner.decoder()
        try:
            item = rows.input(row) if item is None else item
            if not isinstance(item, str):
                self._runner.room.wait()
                item = decoder.decode(item)
            inputs = item
            parameters = self._parameters(inputs, rows.parameters(row))
        except Exception as error:
            decoder.close()
            self._places.release()
            window.settle(row, error)
            return

        def settle(done: Done) -> None:
            decoder.close()
            self._places.release()
            window.settle(row, self._outcome(done, {**dict.fromkeys(rows.named), **parameters}))

        self._engine.submit(RowWork(inputs, parameters, settle=settle))

    def _outcome(self, done: Done, parameters: dict[str, Any]) -> Any:
        if done.usage is not None:
            tokens = done.usage.input_tokens + done.usage.output_tokens
            self._counter.note(tokens, tokens)
        if isinstance(done.outcome, Exception):
            return done.outcome
        return element(self.spec, unpack_tensors(done.outcome), parameters)

    def _parameters(self, inputs: Any, own: dict[str, Any]) -> dict[str, Any]:
        """Those of one call; checked once where all rows have the same."""
        if own or self._merged is None:
            merged = merge_parameters(*self._runner.row(inputs), self._defaults, {**self._given, **own})
            if own:
                return merged
            self._merged = merged
        return self._merged

    def figures(self) -> Figures:
        """See `graph.jobs.answering.Predictor.figures`."""
        cost, padded = self._counter.taken()
        return Figures(cost=cost, padded=padded, unit=self.spec.unit)

    def unwell(self) -> str | None:
        """See `graph.jobs.answering.Predictor.unwell`."""
        return self._engine.unwell()

    def close(self) -> None:
        """See `graph.jobs.answering.Predictor.close`."""
        if self._readers is not None:
            self._readers.shutdown()
        self._engine.close()


def _length(item: Any) -> int:
    """What can be told of a size before it is tokenised."""
    if isinstance(item, str):
        return len(item)
    if isinstance(item, dict):
        return sum(map(_length, item.values()))
    return sum(map(_length, item)) if isinstance(item, list) else 0


def _deliver(finished: list[tuple[Work, Done]]) -> None:
    for work, done in finished:
        if isinstance(work, RowWork):
            work.settle(done)


class _Open:
    """A window some of whose rows are under way."""

    def __init__(self, count: int) -> None:
        self._outcomes: list[Any] = [None] * count
        self._left = count
        self._lock = threading.Lock()
        self._complete = threading.Event()
        if not count:
            self._complete.set()

    def settle(self, row: int, outcome: Any) -> None:
        with self._lock:
            self._outcomes[row] = outcome
            self._left -= 1
            if not self._left:
                self._complete.set()

    def wait(self) -> list[Any]:
        self._complete.wait()
        return self._outcomes


class _Counter(Observer):
    """Sums up what batches cost, beside what a replica's observer hears."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cost = self._padded = 0.0

    def note(self, cost: float, padded: float) -> None:
        with self._lock:
            self._cost += cost
            self._padded += padded

    def taken(self) -> tuple[float, float]:
        with self._lock:
            taken = self._cost, self._padded
            self._cost = self._padded = 0.0
        return taken


class _Counting:
    """A forwarder whose batches are counted, each once, however it is split.

    Args:
        forwarder: runs the model.
        counter: is told.
    """

    def __init__(self, forwarder: Forwarder, counter: _Counter) -> None:
        self._forwarder = forwarder
        self._counter = counter

    def run(self, batch: Sequence[Chunk]) -> None:
        self._counter.note(sum(chunk.size for chunk in batch), padded_cost(batch))
        self._forwarder.run(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._forwarder, name)
