"""Calls of a served pipeline over a transport that is told what to do: nobody's files hold up the calls of others."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from deployments.config import ModelConfig
from deployments.errors import DeadlineExceededError, PipelineGraphError
from graph import served
from graph.client import AsyncServedPipeline, ServedPipeline
from graph.jobs import served as jobs_served
from graph.jobs.inputs import RowReader
from graph.jobs.rows import Window
from graph.jobs.settings import Columns
from graph.portal import portal
from graph.transport import HandleTransport

TOKEN = {"token": {"text": "word"}}


class Transport:
    """Answers at once."""

    together, calls = 4, 2

    async def infer(self, name: str, items: Sequence[Any], parameters: dict[str, Any], bulk: bool) -> list[Any]:
        return ["answer"] * len(items)

    async def stream(self, name: str, item: Any, parameters: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        yield TOKEN
        yield TOKEN


class SlowFile:
    """Is read from when `begun` is set until `there` is."""

    def __init__(self) -> None:
        self.begun, self.there = threading.Event(), threading.Event()

    def read(self, form: Any, given: Any) -> Any:
        self.begun.set()
        assert self.there.wait(30), "what should have gone on meanwhile did not"
        return given


@pytest.fixture
def slow_file(monkeypatch: pytest.MonkeyPatch) -> SlowFile:
    file = SlowFile()
    monkeypatch.setattr(served, "load_media", file.read)
    monkeypatch.setattr(served, "read_item", lambda form, item, *_: item)
    return file


def resolved(task: str) -> dict[str, Any]:
    return {"name": "m", "task": task, "defaults": {}}


def test_a_file_that_is_read_holds_up_no_other_call(slow_file: SlowFile) -> None:
    transport: Any = Transport()
    look = ServedPipeline(transport, resolved("image-classification"), 30.0, {})
    found: list[Any] = []
    caller = threading.Thread(target=lambda: found.append(look("cat.png")))
    caller.start()
    assert slow_file.begun.wait(30)

    async def other() -> str:
        slow_file.there.set()
        return "other"

    assert portal().wait(other()) == "other"
    caller.join()
    assert found == ["answer"]


def test_a_stream_of_asynchronous_code_reads_its_file_beside_its_loop(slow_file: SlowFile) -> None:
    transport: Any = Transport()
    describe = AsyncServedPipeline(transport, resolved("image-text-to-text"), 30.0, {})

    async def ask() -> list[Any]:
        asyncio.get_running_loop().call_soon(slow_file.there.set)
        return [piece async for piece in describe(images="cat.png", text="what?", stream=True)]

    assert asyncio.run(ask()) == ["word", "word"]


def test_a_cell_that_cannot_be_read_is_an_error_of_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    transport: Any = Transport()
    model = ServedPipeline(transport, resolved("fill-mask"), 30.0, {})
    monkeypatch.setattr(jobs_served, "pipeline", lambda *_, **__: model)
    offsets, letters = np.array([0, 1, 2, 3], np.int32), b"a\xffc"
    broken = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(offsets), pa.py_buffer(letters)])
    columns = Columns("text", {"targets": "words"})
    rows = RowReader(model._spec, columns, Window(0, pa.table({"text": ["1", "2", "3"], "words": broken})))
    predictor = jobs_served.ServedPredictor(ModelConfig(task="fill-mask"), {}, "http://127.0.0.1:1", 30.0)
    found = predictor.submit(rows, 3, {})()
    assert [found[0], found[2]] == ["answer", "answer"]
    assert isinstance(found[1], UnicodeDecodeError)
    assert isinstance(predictor.submit(rows, 1, {0: "It is broken."})()[0], PipelineGraphError)


class Handle:
    """A deployment that never answers."""

    def __init__(self) -> None:
        self.cancelled = False

    def options(self, **_: Any) -> "Handle":
        return self

    def remote(self, _: Any) -> "Handle":
        return self

    def cancel(self) -> None:
        self.cancelled = True

    async def __aiter__(self) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield []


def test_a_stream_over_a_handle_is_not_waited_for_longer_than_it_may_take() -> None:
    handle = Handle()
    transport = object.__new__(HandleTransport)
    transport._translated = lambda *_: contextlib.nullcontext()
    transport._timeout_s = 0.05
    transport._handles = {"m": handle}
    with pytest.raises(DeadlineExceededError, match=r"m gave nothing more within 0.05 s"):
        next(portal().iterate(transport.stream("m", "text", {})))
    assert handle.cancelled
