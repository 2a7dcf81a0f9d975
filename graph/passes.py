"""One pass over a dataset: read on a thread, answered a bounded number of items at a time, given out in order.

Reading, inference and whatever the caller does with the answers overlap. An item takes one of a fixed number of places
from when it is read until its answer is taken, so that a slow caller stops the reading, and memory does not grow with
the dataset. Each item has one promise that is kept once: a call that is tried again can neither repeat nor lose one.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from deployments.errors import InferenceError, ModelUnavailableError, OverloadedError, ReplicaLostError
from graph.portal import portal

Promise: TypeAlias = "concurrent.futures.Future[Any]"
END: Final = object()
_FIRST_RETRY_S, _LAST_RETRY_S = 0.25, 5.0
_PATIENCE_S = 10.0
_MOST_LOST = 3  # an item that takes its replicas down with it must not go on for ever


@dataclass(frozen=True)
class Ways:
    """How the items of a pass are answered.

    Args:
        prepare: an item as read → what is sent; its errors are the item's.
        blocks: whether `prepare` reads files, so that it runs on a thread.
        infer: answers items with these parameters; an error in the place of one that failed. Raises nothing.
        hopeless: whether a model that has no replica will have none; an error says that nobody knows.
        together: items of one call (>=1).
        calls: calls at a time (>=1).
        retry_s: seconds for which an item is tried again that found no replica, or a full one, from then on (>=0).
    """

    prepare: Callable[[Any], Any]
    blocks: bool
    infer: Callable[[Sequence[Any], dict[str, Any]], Awaitable[list[Any]]]
    hopeless: Callable[[], Awaitable[bool]]
    together: int
    calls: int
    retry_s: float

    def preparing(self, prepare: Callable[[Any], Any]) -> "Ways":
        """The same with another `prepare`."""
        return dataclasses.replace(self, prepare=prepare)


@dataclass(frozen=True)
class Entry:
    """An item on its way."""

    promise: Promise
    given: Any
    parameters: dict[str, Any]


class Pass:
    """Answers the items of one dataset, once.

    Args:
        source: items with their parameters; read on a thread of its own.
        ways: how they are answered.
    """

    def __init__(self, source: Iterator[tuple[Any, dict[str, Any]]], ways: Ways) -> None:
        self._source = source
        self._ways = ways
        self._slots = threading.Semaphore(ways.together * ways.calls)
        self._promises: dict[int, Promise] = {}
        self._lock = threading.Lock()
        self._todo: deque[Entry] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self._broken: BrokenPass | None = None
        self._ended = threading.Event()
        self._portal = portal()
        self._running = self._portal.start(self._run())
        threading.Thread(target=self._read, name="read-dataset", daemon=True).start()

    def promise(self, index: int) -> Promise:
        """The outcome of item ``index``: its answer, an error, a `BrokenPass`, or `END` behind the last one."""
        with self._lock:
            promise = self._promises.setdefault(index, concurrent.futures.Future())
            if self._broken is not None:
                _keep(promise, self._broken)
            return promise

    def taken(self, index: int) -> None:
        """The outcome of ``index`` was given out: its place is free."""
        with self._lock:
            self._promises.pop(index, None)
        self._slots.release()

    def close(self, wait: bool = True) -> None:
        """Stop reading, and cancel what is under way; with ``wait``, return when that has ended."""
        self._closed = True
        self._slots.release()
        self._running.cancel()
        if wait:
            self._ended.wait(_PATIENCE_S)

    def _read(self) -> None:
        """The thread that reads; an error of the dataset stands behind its last item."""
        index = 0
        try:
            while self._has_place():
                try:
                    given, parameters = next(self._source)
                except StopIteration:
                    break
                entry = Entry(self.promise(index), given, parameters)
                index += 1
                self._portal.loop.call_soon_threadsafe(self._add, entry)
        except BaseException as error:  # a script that ends itself raises SystemExit
            _keep(self.promise(index), BrokenPass(error))
            index += 1
        if not self._closed:
            _keep(self.promise(index), END)

    def _has_place(self) -> bool:
        self._slots.acquire()
        return not self._closed

    def _add(self, entry: Entry) -> None:
        self._todo.append(entry)
        self._wake.set()

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._ways.calls):
                    group.create_task(self._work())
        finally:
            self._ended.set()

    async def _work(self) -> None:
        while True:
            while not self._todo:
                self._wake.clear()
                await self._wake.wait()
            await self._answer(self._next())

    def _next(self) -> list[Entry]:
        """The next items that share a call: what is there by now, with equal parameters."""
        entries = [self._todo.popleft()]
        while self._todo and len(entries) < self._ways.together and self._todo[0].parameters == entries[0].parameters:
            entries.append(self._todo.popleft())
        return entries

    async def _answer(self, entries: list[Entry]) -> None:
        """Keep the promises of ``entries``; what cannot go wrong and does ends the pass, or it would wait for ever."""
        try:
            await self._settle(entries)
        except BaseException as error:
            stopped = isinstance(error, asyncio.CancelledError)
            if stopped and self._closed:
                raise
            self._give_up(InferenceError("A call was cancelled from elsewhere.") if stopped else error)

    def _give_up(self, error: BaseException) -> None:
        """Every outcome that is still open is ``error``."""
        with self._lock:
            self._broken = BrokenPass(error)
            for promise in self._promises.values():
                _keep(promise, self._broken)

    async def _settle(self, entries: list[Entry]) -> None:
        items, sent = [], []
        for entry in entries:
            try:
                items.append(await self._prepare(entry.given))
                sent.append(entry)
            except Exception as error:  # whatever reading a file may raise is this item's
                _keep(entry.promise, error)
        outcomes = await self._outcomes(items, entries[0].parameters) if sent else []
        for entry, outcome in zip(sent, outcomes, strict=True):
            _keep(entry.promise, outcome)

    async def _prepare(self, given: Any) -> Any:
        if self._ways.blocks:
            return await asyncio.to_thread(self._ways.prepare, given)
        return self._ways.prepare(given)

    async def _outcomes(self, items: list[Any], parameters: dict[str, Any]) -> list[Any]:
        """The outcome of each; those that found no place or no replica are tried again, and only those."""
        outcomes: list[Any] = [None] * len(items)
        lost = [0] * len(items)
        left, pause_s = list(range(len(items))), _FIRST_RETRY_S
        deadline_s: float | None = None
        while True:
            found = await self._infer([items[index] for index in left], parameters)
            for index, outcome in zip(left, found, strict=True):
                outcomes[index] = outcome
            for index in left:
                lost[index] += isinstance(outcomes[index], ReplicaLostError)
            left = [
                index for index in left if isinstance(outcomes[index], OverloadedError) and lost[index] <= _MOST_LOST
            ]
            now_s = self._portal.loop.time()
            if deadline_s is None:  # not before: what waits for its answer is not refused
                deadline_s = now_s + self._ways.retry_s
            if not left or now_s >= deadline_s:
                return outcomes
            absent = any(isinstance(outcomes[index], ModelUnavailableError) for index in left)
            if absent and await self._is_hopeless():
                return outcomes
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_RETRY_S)

    async def _infer(self, items: list[Any], parameters: dict[str, Any]) -> list[Any]:
        try:
            found = await self._ways.infer(items, parameters)
        except Exception as error:  # an item must get an outcome: whoever iterates would wait for ever
            return [error] * len(items)
        if len(found) != len(items):
            return [InferenceError(f"The model gave {len(found)} answers to {len(items)} inputs.")] * len(items)
        return found

    async def _is_hopeless(self) -> bool:
        try:
            return await self._ways.hopeless()
        except Exception:  # whoever would know is gone too, and may come back
            return False


class BrokenPass:
    """Stands for an error of the dataset, or of the pass itself, rather than of one item.

    Args:
        error: as it was raised.
    """

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _keep(promise: Promise, outcome: Any) -> None:
    with contextlib.suppress(concurrent.futures.InvalidStateError):  # nobody waits for it any more
        promise.set_result(outcome)
