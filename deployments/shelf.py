"""Which models of a group a replica holds: loaded on demand, the least recently used gone when others need room.

No Ray, no torch; used on one event loop. Ray's own cache of ``@serve.multiplexed`` (2.60, ``ray/serve/multiplex.py``)
counts models and not bytes, and lets go of the least recently used even while it answers: only its routing is used
(`deployments.group`).
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

from deployments.errors import ModelLoadError, ModelUnavailableError
from deployments.held import Bounds, Held, Place, Record, State, cannot_load, no_room, too_many_wait

logger = logging.getLogger("pipeline_graph.shelf")

_AGAIN_S = 30.0  # until a model that could not be loaded is tried again


class Shelf:
    """The models that one replica holds.

    Args:
        load: loads a model by its name; asked for one at a time.
        expect: guesses the bytes of a model that was never loaded here.
        changed: is told whenever a model comes, goes, or begins to load.
        went: is told of a model that is no more in memory, and may give the memory back.
        patience_s: for which a load waits for room while the models in memory are in use.
    """

    def __init__(
        self,
        load: Callable[[str], Awaitable[Held]],
        expect: Callable[[str], int],
        changed: Callable[[], None],
        went: Callable[[str], Coroutine[Any, Any, None]],
        patience_s: float = 30.0,
    ) -> None:
        self.bounds = Bounds()
        self._load, self._expect, self._changed, self._went = load, expect, changed, went
        self._patience_s = patience_s
        self._places: OrderedDict[str, Place] = OrderedDict()  # least recently used first
        self._records: dict[str, Record] = {}
        self._one = asyncio.Lock()  # held by whoever loads or lets go
        self._idle = asyncio.Event()  # some model came out of use
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def names(self) -> list[str]:
        """Of models in memory and on their way there."""
        return list(self._places)

    @property
    def held(self) -> dict[str, Any]:
        """Models in memory, by name, the least recently used first."""
        return {name: place.model for name, place in self._places.items() if place.model is not None}

    def record(self, name: str) -> Record:
        """What is remembered of ``name``."""
        return self._records.setdefault(name, Record())

    def state(self, name: str) -> State:
        """How a model stands here."""
        place = self._places.get(name)
        if place is not None:
            return "loading" if place.model is None else "ready"
        return "failed" if self.record(name).reason else "asleep"

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Any]:
        """The model called ``name``, loaded if it is not in memory; it stays until the block ends.

        Raises:
            ModelUnavailableError: it could not be loaded, there is no room while the others are in use, or too many
                wait for it already.
        """
        place = self._place(name)
        place.users += 1
        try:
            if place.model is None:
                if place.users > self.bounds.max_callers:
                    left_s = self.record(name).load_s - (time.monotonic() - place.began_s)
                    raise too_many_wait(name, self.bounds.max_callers, max(1.0, left_s))
                await asyncio.shield(place.loading)
            yield place.model
        finally:
            place.users -= 1
            if not place.users:
                self._idle.set()
                if self._over(0, 0):
                    self._start(self._shrink())

    def _place(self, name: str) -> Place:
        """Where ``name`` is; a place where it begins to load, if it is nowhere."""
        if name not in self._places:
            self._refuse_failed(name)
            self._places[name] = Place(time.monotonic(), self._start(self._fill(name)))
            self._changed()
        self._places.move_to_end(name)
        return self._places[name]

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits has it; where nobody does, asyncio need not complain

    def _refuse_failed(self, name: str) -> None:
        record = self.record(name)
        left_s = record.failed_s + _AGAIN_S - time.monotonic()
        if record.reason and left_s > 0:
            raise cannot_load(name, left_s)

    async def _fill(self, name: str) -> None:
        """Load a model as soon as there is room.

        Raises:
            ModelUnavailableError: see `use`.
        """
        record, place = self.record(name), self._places[name]
        deadline_s: float | None = None
        try:
            while not await self._filled(name, place, record):
                self._idle.clear()
                deadline_s = deadline_s or asyncio.get_running_loop().time() + self._patience_s
                await self._something_idle(name, deadline_s)  # meanwhile others may load, if there is room for them
        except ModelUnavailableError:
            self._forget(name, place)
            raise
        except Exception as error:
            logger.warning("%s could not be loaded: %s", name, error)
            record.reason = str(error) if isinstance(error, ModelLoadError) else "see the log of its replicas"
            record.failed_s = time.monotonic()
            self._forget(name, place)
            raise cannot_load(name, _AGAIN_S) from None

    def _forget(self, name: str, place: Place) -> None:
        if self._places.get(name) is place:
            del self._places[name]
        self._changed()

    async def _something_idle(self, name: str, deadline_s: float) -> None:
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._idle.wait()
        except TimeoutError:
            raise no_room(name) from None

    async def _filled(self, name: str, place: Place, record: Record) -> bool:
        """Load a model if there is room for it, or room can be made; whether it was loaded."""
        needed = self._expect(name) if record.bytes is None else record.bytes
        async with self._one:
            self._check_size(name, record)
            if not await self._trim(needed, 1):
                return False
            place.model = await self._loaded(name, record)
            record.reason = ""
            self._changed()
            await self._trim(0, 0)  # it may have taken more than was expected
            return True

    async def _loaded(self, name: str, record: Record) -> Held:
        """The model, measured."""
        began_s = time.monotonic()
        model = await self._load(name)
        record.bytes, record.load_s = model.memory_bytes, time.monotonic() - began_s
        try:
            self._check_size(name, record)
        except ModelLoadError:
            await model.close()
            del model  # which the error else keeps
            self._start(self._went(name))
            raise
        return model

    def _check_size(self, name: str, record: Record) -> None:
        most = self.bounds.max_bytes
        if most is not None and (record.bytes or 0) > most:
            raise ModelLoadError(f"{name} takes {_mib(record.bytes or 0)}; a replica of its group has {_mib(most)}.")

    async def _shrink(self) -> None:
        async with self._one:
            await self._trim(0, 0)

    async def _trim(self, needed: int, models: int) -> bool:
        """Let go of idle models, the least recently used first, until so much more fits; whether it does.

        Where it would not fit without all of them either, none goes for it.
        """
        if models and self._over(needed, models, [place.model for place in self._places.values() if place.users]):
            return False
        while self._over(needed, models):
            idle = [name for name, place in self._places.items() if place.model is not None and not place.users]
            if not idle:
                return False
            await self._let_go(idle[0], self._places.pop(idle[0]))
        return True

    def _over(self, needed: int, models: int, among: Iterable[Held | None] | None = None) -> bool:
        """Whether so much more would be too much beside what is held; a model alone always gets its try."""
        held = [model for model in (self.held.values() if among is None else among) if model is not None]
        too_many = self.bounds.max_models is not None and len(held) + models > self.bounds.max_models
        taken = sum(model.memory_bytes for model in held) + needed
        return bool(held) and (too_many or (self.bounds.max_bytes is not None and taken > self.bounds.max_bytes))

    async def _let_go(self, name: str, place: Place) -> None:
        self._changed()
        model, place.model = place.model, None
        await asyncio.shield(model.close())
        del model
        await self._went(name)

    def drop(self, name: str) -> None:
        """Forget a model whose configuration changed: new calls load it anew, and it goes when the last has ended."""
        self._records.pop(name, None)
        place = self._places.pop(name, None)
        if place is not None:
            self._changed()
            self._start(self._outlive(name, place))

    def rebound(self, bounds: Bounds) -> None:
        """Take over new bounds."""
        self.bounds = bounds
        self._idle.set()  # there may be room now
        if self._over(0, 0):
            self._start(self._shrink())

    async def _outlive(self, name: str, place: Place) -> None:
        with contextlib.suppress(ModelUnavailableError):
            await place.loading
        while place.users:
            self._idle.clear()
            await self._idle.wait()
        if place.model is not None:
            await self._let_go(name, place)


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"
