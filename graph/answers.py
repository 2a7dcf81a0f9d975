"""The answers to a dataset: iterated as the local pipeline's are, synchronously or with ``async for``."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal, Self

from graph.inputs import items_of
from graph.passes import END, BrokenPass, Pass, Ways

Errors = Literal["raise", "return"]


class Answers:
    """Lazy, ordered answers to the items of a dataset; nothing is read before the first is asked for.

    Each ``iter()`` reads the dataset anew, as with the local pipeline; ``len()`` is that of the dataset. ``next()`` and
    ``anext()`` of the object itself go on in one pass of its own.

    Args:
        dataset: what is read.
        parameters: of every item.
        ways: how items are answered.
        finish: makes of an answer what the local pipeline gives for an item of a dataset.
        on_error: ``raise`` an error when its item is reached, after which ``next()`` goes on behind it; or ``return``
            it as the item's value.
    """

    def __init__(
        self,
        dataset: Any,
        parameters: dict[str, Any],
        ways: Ways,
        finish: Callable[[Any], Any],
        on_error: Errors,
    ) -> None:
        self._dataset = dataset
        self._parameters = parameters
        self._ways = ways
        self._finish = finish
        self._on_error = on_error
        self._own: AnswerIterator | None = None

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> "AnswerIterator":
        parameters = self._parameters  # not `self`, which the pass would keep from being dropped
        read = ((item, parameters) for item in items_of(self._dataset))
        return AnswerIterator(Pass(read, self._ways), self._finish, self._on_error)

    def __aiter__(self) -> AsyncIterator[Any]:
        return iter(self)

    def __next__(self) -> Any:
        return next(self._mine())

    async def __anext__(self) -> Any:
        return await anext(self._mine())

    def _mine(self) -> "AnswerIterator":
        if self._own is None:
            self._own = iter(self)
        return self._own


class AnswerIterator:
    """One pass over the answers; leaving the loop, dropping it, `close` or an interrupt ends what is under way.

    Args:
        run: the pass.
        finish, on_error: see `Answers`.
    """

    def __init__(self, run: Pass, finish: Callable[[Any], Any], on_error: Errors) -> None:
        self._run = run
        self._finish = finish
        self._on_error = on_error
        self._index = 0
        self._over = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    def __next__(self) -> Any:
        """The next answer.

        Raises:
            PipelineGraphError: the item failed, and errors are raised; the next call goes on behind it.
        """
        if self._over:
            raise StopIteration
        try:
            outcome = self._run.promise(self._index).result()
        except BaseException:  # an interrupt
            self.close()
            raise
        if outcome is END:
            self.close()
            raise StopIteration
        return self._value(outcome)

    async def __anext__(self) -> Any:
        """The next answer, as `__next__` has it."""
        if self._over:
            raise StopAsyncIteration
        outcome = await asyncio.shield(asyncio.wrap_future(self._run.promise(self._index)))
        if outcome is END:
            self._end(wait=False)
            raise StopAsyncIteration
        return self._value(outcome)

    def _value(self, outcome: Any) -> Any:
        self._run.taken(self._index)
        self._index += 1
        if isinstance(outcome, BrokenPass):
            self._end(wait=False)
            raise outcome.error
        if isinstance(outcome, Exception):
            if self._on_error == "raise":
                raise outcome
            return outcome
        return self._finish(outcome)

    def close(self) -> None:
        """Stop reading, and cancel what is under way."""
        self._end(wait=True)

    def _end(self, wait: bool) -> None:
        if not self._over:
            self._over = True
            self._run.close(wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def __del__(self) -> None:
        if not getattr(self, "_over", True):
            self._end(wait=False)
