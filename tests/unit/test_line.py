"""A few threads for many: single requests before lists, and no place lost to those who leave."""

import asyncio
import threading
from contextlib import suppress

import pytest

from deployments import line
from deployments.line import Line


def test_single_requests_go_before_a_list_that_came_first() -> None:
    done: list[str] = []

    async def run() -> None:
        waits, held = Line(1, "test"), threading.Event()
        first = asyncio.ensure_future(waits.run(False, held.wait))
        await asyncio.sleep(0)  # it has the thread
        asked = [asyncio.ensure_future(waits.run(True, done.append, f"list {at}")) for at in range(3)]
        await asyncio.sleep(0)
        asked += [asyncio.ensure_future(waits.run(False, done.append, f"single {at}")) for at in range(2)]
        await asyncio.sleep(0)
        held.set()
        await asyncio.gather(first, *asked)
        waits.close()

    asyncio.run(run())
    assert done == ["single 0", "single 1", "list 0", "list 1", "list 2"]


def test_a_list_stands_behind_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "BULK_HANDICAP_S", 0.0)
    done: list[str] = []

    async def run() -> None:
        waits, held = Line(1, "test"), threading.Event()
        first = asyncio.ensure_future(waits.run(False, held.wait))
        await asyncio.sleep(0)
        asked = []
        for bulk, name in ((True, "list"), (False, "single")):
            asked.append(asyncio.ensure_future(waits.run(bulk, done.append, name)))
            await asyncio.sleep(0)
        held.set()
        await asyncio.gather(first, *asked)
        waits.close()

    asyncio.run(run())
    assert done == ["list", "single"]


def test_who_leaves_takes_no_place_along() -> None:
    async def run() -> None:
        waits, held = Line(2, "test"), threading.Event()
        running = [asyncio.ensure_future(waits.run(False, held.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        asked = [asyncio.ensure_future(waits.run(False, int, "7")) for _ in range(4)]
        await asyncio.sleep(0)
        for task in (running[0], *asked[:2]):  # one whose thread still works, two that wait
            task.cancel()
        held.set()
        assert await asyncio.gather(running[1], *asked[2:]) == [True, 7, 7]
        for task in (running[0], *asked[:2]):
            with suppress(asyncio.CancelledError):
                await task
        both = threading.Barrier(2, timeout=30)  # passed by two threads at once only: both places are there again
        await asyncio.gather(waits.run(False, both.wait), waits.run(False, both.wait))
        waits.close()

    asyncio.run(run())
