"""Passes over datasets, without a server: order, bounds, overlap, retries, and that nothing is left behind."""

import asyncio
import contextlib
import dataclasses
import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from deployments.errors import InferenceError, ModelUnavailableError
from graph.answers import Answers
from graph.passes import END, Pass, Ways
from graph.portal import portal


class Model:
    """Answers on the loop: counts what it is asked, and fails as it is told."""

    def __init__(self, together: int = 4, calls: int = 2, outcome: Callable[[Any], Any] = str) -> None:
        self.asked: list[Any] = []
        self.sizes: list[int] = []
        self.held: set[Any] = set()  # items that wait until it is open
        self.open = asyncio.Event()
        self.running = self.cancelled = 0
        self._outcome = outcome
        self.ways = Ways(lambda given: given, False, self.infer, self.hopeless, together, calls, 30.0)

    async def infer(self, items: Sequence[Any], parameters: dict[str, Any]) -> list[Any]:
        self.asked += items
        self.sizes.append(len(items))
        self.running += 1
        try:
            if self.held.intersection(items):
                await self.open.wait()
            return [self._outcome(item) for item in items]
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def hopeless(self) -> bool:
        return False

    def answers(self, dataset: Any, on_error: Any = "raise") -> Answers:
        return Answers(dataset, {}, self.ways, lambda outcome: outcome, on_error)


def counted(seen: list[int], most: int) -> Iterator[int]:
    for number in range(most):
        seen.append(number)
        yield number


def outcomes_of(ways: Ways, count: int) -> list[Any]:
    """The outcomes of the items 0, 1, …; each comes within a minute."""
    run = Pass(((number, {}) for number in range(count)), ways)
    try:
        return [_taken(run, index) for index in range(count)]
    finally:
        run.close()


def _taken(run: Pass, index: int) -> Any:
    outcome = run.promise(index).result(60)
    run.taken(index)
    return outcome


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_answers_are_in_order_and_each_item_is_asked_once() -> None:
    model = Model()
    assert list(model.answers(range(1000))) == [str(number) for number in range(1000)]
    assert sorted(model.asked) == list(range(1000))


def test_nothing_is_read_before_the_first_answer_is_asked_for() -> None:
    seen: list[int] = []
    answers = Model().answers(counted(seen, 10))
    assert seen == []
    assert next(answers) == "0"


def test_what_is_read_ahead_is_bounded_however_slow_the_caller() -> None:
    seen: list[int] = []
    model = Model(together=4, calls=2)
    answers = iter(model.answers(counted(seen, 10_000)))
    assert next(answers) == "0"
    until(lambda: len(seen) == 9)  # eight places, and that of the answer that was taken
    assert next(answers) == "1"
    until(lambda: len(seen) == 10)
    answers.close()
    assert len(seen) <= 10


def test_the_dataset_is_read_while_the_model_runs() -> None:
    """A model that waits for the third item to be read: it would wait for ever if reading waited for it."""
    read = threading.Event()

    def source() -> Iterator[int]:
        yield from (0, 1)
        read.set()
        yield 2

    def outcome(item: int) -> int:
        assert read.wait(60)
        return item

    assert list(Model(together=1, calls=4, outcome=outcome).answers(source())) == [0, 1, 2]


def test_items_that_wait_share_a_call() -> None:
    model = Model(together=4, calls=1)
    model.held = {0}
    answers = iter(model.answers(range(12)))
    first = threading.Thread(target=lambda: next(answers))
    first.start()
    until(lambda: model.running == 1)
    portal().loop.call_soon_threadsafe(model.open.set)
    first.join()
    assert list(answers) == [str(number) for number in range(1, 12)]
    assert max(model.sizes) > 1


def test_items_of_other_parameters_do_not_share_a_call() -> None:
    model = Model(together=8, calls=1)
    run = Pass(((number, {"top_k": number % 2}) for number in range(8)), model.ways)
    for index in range(8):
        assert run.promise(index).result() == str(index)
        run.taken(index)
    assert run.promise(8).result() is END
    assert model.sizes == [1] * 8
    run.close()


def _fails_on_three(item: int) -> Any:
    return InferenceError("no") if item == 3 else item


def test_an_error_is_raised_at_its_item_and_the_next_goes_on_behind_it() -> None:
    answers = iter(Model(outcome=_fails_on_three).answers(range(6)))
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InferenceError):
        next(answers)
    assert list(answers) == [4, 5]


def test_an_error_may_be_the_value_of_its_item() -> None:
    values = list(Model(outcome=_fails_on_three).answers(range(6), "return"))
    assert isinstance(values[3], InferenceError)
    assert values[:3] + values[4:] == [0, 1, 2, 4, 5]


def test_an_error_of_the_dataset_stands_behind_its_last_item() -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise OSError("the disk is gone")

    answers = iter(Model().answers(source(), "return"))
    assert [next(answers) for _ in range(5)] == list("01234")
    with pytest.raises(OSError, match="the disk is gone"):
        next(answers)
    assert list(answers) == []


def test_items_that_find_no_replica_are_tried_again_and_only_those() -> None:
    failed: set[int] = set()

    def outcome(item: int) -> Any:
        if item % 3 == 0 and item not in failed:
            failed.add(item)
            return ModelUnavailableError("gone")
        return item

    model = Model(outcome=outcome)
    assert list(model.answers(range(20))) == list(range(20))
    assert sorted(model.asked) == sorted([*range(20), *range(0, 20, 3)])


def test_a_model_that_will_have_no_replica_is_not_waited_for() -> None:
    model = Model(outcome=lambda _: ModelUnavailableError("failed"))

    async def hopeless() -> bool:
        return True

    model.hopeless = hopeless  # type: ignore[method-assign]
    model.ways = Ways(lambda given: given, False, model.infer, hopeless, 4, 2, 1000.0)
    with pytest.raises(ModelUnavailableError):
        next(iter(model.answers(range(3))))


def test_items_are_tried_again_where_nobody_knows_whether_it_is_hopeless() -> None:
    refused: set[int] = set()

    def outcome(item: int) -> Any:
        if item in refused:
            return item
        refused.add(item)
        return ModelUnavailableError("gone")

    async def unknown() -> bool:
        raise RuntimeError("the controller is gone")

    model = Model(outcome=outcome)
    model.ways = dataclasses.replace(model.ways, hopeless=unknown)
    assert outcomes_of(model.ways, 5) == [0, 1, 2, 3, 4]


def test_time_for_trying_again_begins_with_the_first_refusal() -> None:
    """A call that waited for longer than that is not refused yet."""
    asked: list[int] = []

    async def infer(items: Sequence[int], parameters: dict[str, Any]) -> list[Any]:
        asked.extend(items)
        if len(asked) == 1:
            await asyncio.sleep(1.1)
            return [ModelUnavailableError("gone")]
        return list(items)

    model = Model()
    model.ways = dataclasses.replace(model.ways, infer=infer, retry_s=1.0)
    assert outcomes_of(model.ways, 1) == [0]


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_answers_is_an_error_of_each_item(count: int) -> None:
    async def infer(items: Sequence[int], parameters: dict[str, Any]) -> list[Any]:
        return ["answer"] * count if items[0] % 2 else list(items)

    model = Model()
    model.ways = dataclasses.replace(model.ways, infer=infer, together=1)
    found = outcomes_of(model.ways, 6)
    assert found[::2] == [0, 2, 4]
    assert [str(outcome) for outcome in found[1::2]] == [f"The model gave {count} answers to 1 inputs."] * 3
    assert {type(outcome) for outcome in found[1::2]} == {InferenceError}


@pytest.mark.parametrize("where", ["dataset", "prepare", "prepare on a thread", "infer"])
@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError])
def test_whatever_is_raised_nobody_waits_for_ever(where: str, error: type[BaseException]) -> None:
    def raising(*_: Any) -> Any:
        raise error

    async def infer(items: Sequence[Any], parameters: dict[str, Any]) -> list[Any]:
        return list(raising())

    model = Model()
    if where == "infer":
        model.ways = dataclasses.replace(model.ways, infer=infer)
    elif where != "dataset":
        model.ways = dataclasses.replace(model.ways, prepare=raising, blocks="thread" in where)
    source = map(raising, range(5)) if where == "dataset" else range(5)
    ended: list[Any] = []

    def read() -> None:
        try:
            ended.extend(model.answers(source, "return"))
        except BaseException as raised:
            ended.append(type(raised))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(60)
    assert ended == [error if where == "dataset" or error is SystemExit else InferenceError]
    assert list(Model().answers(range(3))) == ["0", "1", "2"]  # the loop of all passes goes on


def test_an_error_in_reading_an_item_is_that_items() -> None:
    model = Model()

    def prepare(given: int) -> int:
        if given == 2:
            raise FileNotFoundError("there is no such file")
        return given

    model.ways = Ways(prepare, True, model.infer, model.hopeless, 1, 4, 1.0)
    values = list(model.answers(range(5), "return"))
    assert isinstance(values[2], FileNotFoundError)
    assert sorted(model.asked) == [0, 1, 3, 4]


def _readers() -> int:
    return sum(thread.name == "read-dataset" for thread in threading.enumerate())


def test_dropping_the_answers_ends_the_pass_that_next_began() -> None:
    until(lambda: _readers() == 0)  # those of the tests before
    answers = Model().answers(counted([], 10_000))
    assert next(answers) == "0"
    assert _readers() == 1
    del answers
    until(lambda: _readers() == 0)


@contextlib.contextmanager
def _interrupted(waited_for: Any) -> Iterator[None]:
    """Ctrl-C once the main thread waits for the promise; again until it is heard, as a lock may miss one."""
    heard = threading.Event()

    def hear(*_: Any) -> None:
        if not heard.is_set():
            heard.set()
            raise KeyboardInterrupt

    def send() -> None:
        until(lambda: len(waited_for._condition._waiters) > 0)
        while not heard.wait(0.05):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, hear)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        sender.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("leave", ["close", "drop", "with", "interrupt"])
def test_leaving_ends_the_reading_and_cancels_what_is_under_way(leave: str) -> None:
    seen: list[int] = []
    model = Model(together=1, calls=3)
    model.held = set(range(1, 100))
    answers = iter(model.answers(counted(seen, 10_000)))
    assert next(answers) == "0"
    until(lambda: model.running == 3)
    if leave == "close":
        answers.close()
    elif leave == "drop":
        del answers
        gc.collect()
    elif leave == "with":
        with answers:
            pass
    else:
        with _interrupted(answers._run.promise(1)), pytest.raises(KeyboardInterrupt):
            next(answers)
    until(lambda: model.running == 0 and model.cancelled == 3)
    until(lambda: _readers() == 0)
    assert len(seen) < 20


def test_a_dataset_is_read_anew_by_each_loop_and_has_its_length() -> None:
    answers = Model().answers([3, 4])
    assert len(answers) == 2
    assert (list(answers), list(answers)) == (["3", "4"], ["3", "4"])


def test_answers_come_to_asynchronous_code_too() -> None:
    async def read() -> list[Any]:
        return [answer async for answer in Model().answers(range(50))]

    assert asyncio.run(read()) == [str(number) for number in range(50)]


def test_a_waiting_task_that_is_cancelled_can_go_on() -> None:
    async def read() -> list[Any]:
        model = Model()
        model.held = {0}
        answers = iter(model.answers(range(3)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(answers), 0.05)
        portal().loop.call_soon_threadsafe(model.open.set)
        return [answer async for answer in answers]

    assert asyncio.run(read()) == ["0", "1", "2"]
