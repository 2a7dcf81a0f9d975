"""Server-sent events: refusals before the headers, comments meanwhile, errors on the way, clients who leave."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.errors import InferenceError, InvalidInputError, PipelineGraphError
from deployments.events import Event, Finish, Started, Step, TokenText
from graph import stream
from graph.tgi import read_events


def _step(index: int, text: str, finish: Finish | None = None) -> Step:
    top = (TokenText(8, "Ü", -0.1, False),) if index == 2 else ()
    return Step(index, TokenText(index, text, -0.5, False), top, finish)


class Source:
    """Gives what it was made of: events, an error to raise, or a wait without end."""

    def __init__(self, *given: Any) -> None:
        self._given = list(given)
        self.cancelled = False
        self.waits = asyncio.Event()

    async def __anext__(self) -> list[Event]:
        """The next ones."""
        if not self._given:
            raise StopAsyncIteration
        one = self._given.pop(0)
        if isinstance(one, Exception):
            raise one
        if one == "wait":
            self.waits.set()
            await asyncio.Event().wait()
        return list(one)

    def cancel(self) -> None:
        """Remembered."""
        self.cancelled = True


def _respond(source: Source, details: bool = True) -> Any:
    return stream.respond(source, stream.tgi_blocks(details), stream.tgi_error("id-7"))


async def _all(source: Source, details: bool = True) -> list[str]:
    response = await _respond(source, details)
    return [block.decode() async for block in response.body_iterator]


_DONE = Finish("length", 2, 5, 3, " né", [{"generated_text": "He né"}])


def test_every_token_is_an_event_and_the_last_one_tells_the_whole() -> None:
    source = Source([Started(5)], [_step(1, " n")], [_step(2, "é", _DONE)])
    comment, *blocks = asyncio.run(_all(source))
    assert comment == ": keep-alive\n\n"
    lines = "".join(blocks).split("\n")
    assert lines[1::2] == [""] * 2  # an empty line ends each event
    first, last = read_events(lines, lambda _: AssertionError())
    token = {"id": 1, "text": " n", "logprob": -0.5, "special": False}
    assert first == {"index": 1, "token": token, "generated_text": None, "details": None}
    assert last["generated_text"] == "He né"
    assert last["top_tokens"] == [{"id": 8, "text": "Ü", "logprob": -0.1, "special": False}]
    assert last["details"] == {"finish_reason": "length", "generated_tokens": 2, "input_length": 5, "seed": 3}
    assert source.cancelled  # which does nothing to a call that is through


def test_details_only_for_those_who_ask() -> None:
    *_, block = asyncio.run(_all(Source([Started(5)], [_step(1, "x", _DONE)]), details=False))
    assert json.loads(block[5:])["details"] is None


def test_refusal_comes_before_any_header() -> None:
    source = Source(InvalidInputError("`inputs` is empty.", "inputs"))
    with pytest.raises(InvalidInputError):
        asyncio.run(_respond(source))
    assert source.cancelled


def test_error_on_the_way_is_an_event() -> None:
    source = Source([Started(5)], [_step(1, "x")], InferenceError('It "failed".'))
    *_, block = asyncio.run(_all(source))
    assert json.loads(block[5:]) == {"error": 'It "failed".', "error_type": "inference", "request_id": "id-7"}

    def told(value: dict[str, Any]) -> Exception:
        return PipelineGraphError(value["error"])

    with pytest.raises(PipelineGraphError, match="failed"):
        list(read_events(block.split("\n"), told))


def test_comments_come_while_nothing_else_does_and_leaving_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.001)
    source = Source([Started(5)], "wait")

    async def some() -> list[bytes]:
        blocks: AsyncIterator[bytes] = (await _respond(source)).body_iterator
        found = [await anext(blocks) for _ in range(4)]
        assert not source.cancelled
        await blocks.aclose()  # type: ignore[attr-defined]
        return found

    assert asyncio.run(some()) == [b": keep-alive\n\n"] * 4
    assert source.cancelled


def test_comments_come_while_tokens_give_no_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event every 10 s, told as nothing but for the fifth: a comment when 15 s are over, and no empty pieces."""
    source = Source([Started(5)], *[[_step(index, "")] for index in range(1, 9)])
    seconds = itertools.count(0, 10)
    given: dict[int, int] = {}

    async def come() -> list[Event]:
        given[0] = next(seconds)
        return await Source.__anext__(source)

    monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: given[0]))

    class Slow:
        """Told what the time is by who reads it."""

        __anext__ = staticmethod(come)
        cancel = staticmethod(source.cancel)

    async def whole() -> list[bytes]:
        told = {5: [b"five"]}
        response = await stream.respond(
            Slow(), lambda events: told.get(getattr(events[0], "index", 0), []), stream.tgi_error("id-7")
        )
        return [block async for block in response.body_iterator]

    comment = b": keep-alive\n\n"
    assert asyncio.run(whole()) == [comment, comment, comment, b"five", comment, comment]


def test_task_that_is_cancelled_frees_the_place() -> None:
    source = Source([Started(5)], "wait")

    async def leave() -> None:
        task = asyncio.ensure_future(_all(source))
        await source.waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert source.cancelled
