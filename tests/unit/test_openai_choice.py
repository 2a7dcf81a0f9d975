"""Stops, tokens and calls of an answer; several streams as one."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import InferenceError, OverloadedError
from deployments.events import Event, Finish, MessagePart, Started, Step, TokenText
from deployments.payload import TaskResult, Usage
from graph.openai.chat_stream import ChatChunks
from graph.openai.choice import Choice, Wishes
from graph.openai.several import Merged, all_of, begun
from graph.openai.stops import Stops
from graph.openai.usage import finish_reason, usage_of

_LETTERS = st.text("ab ", max_size=12)


@given(st.lists(_LETTERS), st.lists(st.text("ab ", min_size=1, max_size=4), max_size=3))
def test_text_ends_before_the_first_stop_however_it_comes(pieces: list[str], stops: list[str]) -> None:
    found, text = Stops(stops), "".join(pieces)
    told = [found.push(piece) for piece in pieces]
    places = [place for place in map(text.find, stops) if place >= 0]
    whole = "".join(told) + found.end()
    assert found.cut == bool(places)
    if not places:
        assert whole == text
    else:  # with stops within stops, the first that is complete decides
        assert text.startswith(whole)
        assert not any(stop in whole for stop in stops)
        assert any(text.startswith(stop, len(whole)) for stop in stops)


def test_nothing_is_held_back_longer_than_it_must_be() -> None:
    stops = Stops(["END"])
    assert [stops.push(piece) for piece in ("a", "bE", "N", "x", "EN")] == ["a", "b", "", "ENx", ""]
    assert stops.end() == "EN"


def _content(*texts: str) -> list[MessagePart]:
    return [MessagePart("content", text) for text in texts]


def _texts(parts: list[MessagePart]) -> list[tuple[str, str, str]]:
    return [(part.kind, part.name, part.text) for part in parts]


def test_call_that_a_grammar_made_is_a_call() -> None:
    choice = Choice(Wishes(stops=("{",), forced=True))
    assert choice.push(_content('{"name": "time", ', '"arguments": {"zone": "CET"}}')) == []
    assert _texts(choice.end()) == [("tool_call", "time", '{"zone": "CET"}')]
    assert choice.calls == 1
    cut = Choice(Wishes(forced=True))
    cut.push(_content('{"name": "ti'))
    assert _texts(cut.end()) == [("content", "", '{"name": "ti')]


def test_only_the_first_of_parallel_calls_where_one_is_wanted() -> None:
    calls = [MessagePart("tool_call", "{}", name) for name in ("a", "b")]
    assert [part.name for part in Choice(Wishes(one_call=True)).push(calls)] == ["a"]
    assert [part.name for part in Choice(Wishes()).push(calls)] == ["a", "b"]


def _token(text: str) -> TokenText:
    return TokenText(1, text, -0.5, False)


def test_tokens_are_told_with_their_text() -> None:
    choice, told = Choice(Wishes(stops=("END",))), []
    for text in ("a", "", "E", "x", "E", "ND", "more"):
        choice.score(_token(text), ())
        choice.push(_content(text))
        told.append([token.text for token, _ in choice.scored()])
    assert told == [["a"], [""], [], ["E", "x"], [], [], []]
    assert choice.scored(last=True) == []


def test_tokens_of_marks_and_reasoning_are_not_told() -> None:
    choice, told = Choice(Wishes(stops=("END",))), []
    steps: list[tuple[str, list[MessagePart]]] = [
        ("<think>", []),
        ("Hm", [MessagePart("reasoning", "Hm")]),
        ("</think>", []),
        ("\n\n", []),
        ("<", []),  # held back, as it may begin a mark
        ("a", _content("<a")),
        ("", []),
        ("é", _content("é")),
        ("x E", _content("x E")),
        ("ND more", _content("ND more")),
    ]
    for text, parts in steps:
        choice.score(_token(text), ())
        told += [token.text for _, scored in choice.told(parts) for token, _ in scored]
    assert told == ["<", "a", "", "é", "x E"]
    assert choice.told([], last=True) == []
    assert choice.scored(last=True) == []


@pytest.mark.parametrize(
    ("reason", "calls", "stopped", "told"),
    [
        ("length", 0, False, "length"),
        ("length", 0, True, "stop"),
        ("length", 2, False, "tool_calls"),
        ("eos_token", 0, False, "stop"),
        ("stop_sequence", 0, False, "stop"),
        (None, 0, False, "stop"),
    ],
)
def test_finish_reason(reason: str | None, calls: int, stopped: bool, told: str) -> None:
    assert finish_reason(reason, calls, stopped) == told


def test_prompts_count_once() -> None:
    results = [TaskResult(None, usage=Usage(size, 3, ("length",))) for size in (5, 5, 7, 7)]
    assert usage_of(results, 2) == {"prompt_tokens": 12, "completion_tokens": 12, "total_tokens": 24}
    assert usage_of([*results, TaskResult(None)], 1) is None


class Source:
    """Gives lists of events, raises errors, or waits without end."""

    def __init__(self, *given: Any) -> None:
        self._given = list(given)
        self.cancelled = False

    async def __anext__(self) -> list[Event]:
        """The next ones."""
        await asyncio.sleep(0)
        if not self._given:
            raise StopAsyncIteration
        one = self._given.pop(0)
        if isinstance(one, Exception):
            raise one
        if one == "wait":
            await asyncio.Event().wait()
        return list(one)

    def cancel(self) -> None:
        """Remembered."""
        self.cancelled = True


def _step(text: str, ends: bool = False) -> Step:
    return Step(1, _token(text), (), Finish("length", 2, 5, None, text, None) if ends else None)


async def _all(merged: Merged) -> list[Any]:
    found = []
    try:
        while True:
            found += await merged.__anext__()
    except StopAsyncIteration:
        return found


def test_streams_are_merged_and_keep_their_numbers() -> None:
    sources = [Source([Started(5)], [_step("a"), _step("b", ends=True)]), Source([Started(5)], [_step("c", ends=True)])]
    found = asyncio.run(_all(Merged(sources)))
    by_number = [[event for number, event in found if number == one] for one in (0, 1)]
    assert [[event.token.text for event in events[1:]] for events in by_number] == [["a", "b"], ["c"]]


def test_no_stream_begins_before_those_that_matter_are_accepted() -> None:
    async def begin() -> tuple[Merged, list[Source]]:
        sources = [Source([Started(5)], "wait"), Source(OverloadedError("Full."))]
        merged = Merged(sources, (0, 1))
        with pytest.raises(OverloadedError):
            await merged.__anext__()
        merged.cancel()
        return merged, sources

    _, sources = asyncio.run(begin())
    assert all(source.cancelled for source in sources)


def test_stream_does_not_wait_for_one_that_is_queued() -> None:
    async def begin() -> list[Any]:
        merged = Merged([Source([Started(5)], [_step("a")], "wait"), Source("wait")])
        found = [await merged.__anext__(), await merged.__anext__()]
        merged.cancel()
        return found

    assert [[number for number, _ in events] for events in asyncio.run(begin())] == [[0], [0]]


def test_leaving_ends_every_stream() -> None:
    async def leave() -> list[Source]:
        sources = [Source([Started(5)], "wait"), Source([Started(5)], "wait")]
        merged = Merged(sources)
        await merged.__anext__()
        waiting = asyncio.ensure_future(merged.__anext__())
        await asyncio.sleep(0)
        waiting.cancel()
        merged.cancel()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1 or not [
            task for task in asyncio.all_tasks() - {asyncio.current_task()} if not task.cancelling()
        ]
        return sources

    assert all(source.cancelled for source in asyncio.run(leave()))


def test_one_call_that_fails_ends_the_others() -> None:
    started: list[int] = []
    ended: list[int] = []

    async def waits(number: int) -> None:
        started.append(number)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    async def fails() -> None:
        await asyncio.sleep(0)
        raise InferenceError("It failed.")

    async def run() -> None:
        with pytest.raises(InferenceError):
            await all_of([waits(0), fails(), *(waits(number) for number in range(1, 80))])
        await asyncio.sleep(0)

    asyncio.run(run())
    assert sorted(ended) == sorted(started)
    assert 0 < len(started) < 80


def test_streams_that_began_are_freed_where_one_fails() -> None:
    sources = [Source([Started(5)]) for _ in range(3)]

    async def opened(source: Source) -> Source:
        return source

    async def fails() -> Source:
        await asyncio.sleep(0)
        raise InferenceError("It failed.")

    async def run() -> None:
        with pytest.raises(InferenceError):
            await begun([*map(opened, sources), fails()])
        assert all(source.cancelled for source in sources)
        more = [Source([Started(5)]) for _ in range(100)]
        assert await begun([opened(source) for source in more]) == more
        assert not any(source.cancelled for source in more)

    asyncio.run(run())


def _chunks(text: bytes) -> list[Any]:
    assert text.endswith(b"data: [DONE]\n\n")
    return [json.loads(line[6:]) for line in text.decode().split("\n\n")[:-2]]


def test_chunks_of_two_answers() -> None:
    chunks = ChatChunks({"id": "x"}, [Choice(Wishes()), Choice(Wishes(stops=("!",)))], False, True)
    text = b"".join(chunks.told([(0, Started(5)), (1, Started(5)), (1, _step("a!b", ends=True)), (0, _step("c"))]))
    assert b"[DONE]" not in text
    text += b"".join(chunks.told([(0, _step("d", ends=True))]))
    found = _chunks(text)
    first, second, said, stopped, more, rest, ended, usage = found
    assert first["choices"][0]["delta"] == second["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (said["choices"][0]["index"], said["choices"][0]["delta"]) == (1, {"content": "a"})
    assert (stopped["choices"][0]["delta"], stopped["choices"][0]["finish_reason"]) == ({}, "stop")
    assert [one["choices"][0]["delta"] for one in (more, rest)] == [{"content": "c"}, {"content": "d"}]
    assert ended["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    assert all(one["usage"] is None for one in found[:-1])
