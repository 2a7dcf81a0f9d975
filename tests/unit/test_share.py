"""Equal requests share one computation; kept answers stay inside their bound."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from deployments.config import CacheConfig
from deployments.errors import InferenceError
from deployments.share import Sharing
from deployments.work import Done


def _run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def within() -> Any:
        async with asyncio.timeout(20):
            return await main()

    return asyncio.run(within())


class Compute:
    """Counts its runs; each waits until it is let go."""

    def __init__(self, outcome: Any = "answer") -> None:
        self.runs = 0
        self.cancelled = 0
        self.go = asyncio.Event()
        self._outcome = outcome

    async def __call__(self) -> Done:
        self.runs += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return Done(self._outcome)


async def _turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_equal_requests_run_once_and_others_do_not_wait() -> None:
    async def main() -> None:
        sharing, compute = Sharing(CacheConfig()), Compute()
        tasks = [asyncio.create_task(sharing.answer("k", compute)) for _ in range(5)]
        other = asyncio.create_task(sharing.answer("other", compute))
        await _turns()
        assert compute.runs == 2
        compute.go.set()
        answers = await asyncio.gather(*tasks)
        assert [done.outcome for done, _ in answers] == ["answer"] * 5
        assert [source for _, source in answers] == ["none"] + ["shared"] * 4
        assert (await other)[1] == "none"
        await sharing.answer("k", compute)
        assert compute.runs == 3  # nothing is kept

    _run(main)


def test_single_request_does_not_wait_for_the_item_of_a_list_but_the_item_for_it() -> None:
    async def main() -> None:
        sharing, compute = Sharing(CacheConfig()), Compute()
        tasks = [asyncio.create_task(sharing.answer("k", compute, bulk)) for bulk in (True, False, True, False)]
        await _turns()
        assert compute.runs == 2
        compute.go.set()
        assert [source for _, source in await asyncio.gather(*tasks)] == ["none", "none", "shared", "shared"]
        assert not sharing._running

    _run(main)


def test_first_caller_who_leaves_does_not_end_it_for_the_others() -> None:
    async def main() -> None:
        sharing, compute = Sharing(CacheConfig()), Compute()
        first, second = (asyncio.create_task(sharing.answer("k", compute)) for _ in range(2))
        await _turns()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        compute.go.set()
        assert (await second)[0].outcome == "answer"
        assert (compute.runs, compute.cancelled) == (1, 0)

    _run(main)


def test_when_all_have_left_it_is_cancelled_and_the_next_computes_anew() -> None:
    async def main() -> None:
        sharing, compute = Sharing(CacheConfig()), Compute()
        tasks = [asyncio.create_task(sharing.answer("k", compute)) for _ in range(2)]
        await _turns()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        late = asyncio.create_task(sharing.answer("k", compute))
        await _turns()
        assert (compute.runs, compute.cancelled) == (2, 1)
        compute.go.set()
        assert (await late)[0].outcome == "answer"

    _run(main)


def test_error_goes_to_all_who_wait_and_is_not_kept() -> None:
    async def main() -> None:
        sharing, compute = Sharing(CacheConfig(max_bytes=1000)), Compute(InferenceError("x"))
        compute.go.set()
        results = await asyncio.gather(*(sharing.answer("k", compute) for _ in range(2)), return_exceptions=True)
        assert [type(result) for result in results] == [InferenceError] * 2
        good = Compute()
        good.go.set()
        assert (await sharing.answer("k", good))[0].outcome == "answer"

    _run(main)


def test_failed_outcome_is_not_kept() -> None:
    async def main() -> None:
        sharing = Sharing(CacheConfig(max_bytes=10_000))

        async def compute() -> Done:
            return Done(InferenceError("x"))

        await sharing.answer("k", compute)
        assert (await sharing.answer("k", compute))[1] == "none"

    _run(main)


def test_kept_answers_are_bounded_and_the_least_used_go_first() -> None:
    async def main() -> None:
        sharing = Sharing(CacheConfig(max_bytes=4500))
        runs: list[str] = []

        def compute(key: str, size: int = 1000) -> Callable[[], Awaitable[Done]]:
            async def run() -> Done:
                runs.append(key)
                return Done("x" * size)

            return run

        async def ask(key: str, size: int = 1000) -> str:
            return (await sharing.answer(key, compute(key, size)))[1]

        assert [await ask(key) for key in "abab"] == ["none", "none", "hit", "hit"]
        assert await ask("a") == "hit"
        assert await ask("c") == "none"  # pushes b out
        assert [await ask("a"), await ask("c")] == ["hit", "hit"]
        assert await ask("b") == "none"
        assert await ask("huge", 5000) == "none"
        assert await ask("huge", 5000) == "none"
        sharing.reconfigure(CacheConfig(max_bytes=4500))
        assert await ask("b") == "none"

    _run(main)


def test_small_answers_are_bounded_too() -> None:
    """Each takes memory for its key and its figures: of answers of some bytes, a MiB holds no more than a thousand."""

    async def main() -> None:
        sharing = Sharing(CacheConfig(max_bytes=2**20))

        async def compute() -> Done:
            return Done(0.5)

        for number in range(3000):
            await sharing.answer(number, compute)
        assert 500 < len(sharing._kept) <= 1024

    _run(main)


def test_sharing_can_be_switched_off() -> None:
    async def main() -> None:
        sharing, compute = Sharing(CacheConfig(share_running=False)), Compute()
        compute.go.set()
        await asyncio.gather(*(sharing.answer("k", compute) for _ in range(3)))
        assert compute.runs == 3

    _run(main)
