"""The three stages at work: who shares a batch, who pays for whom, and that nothing ends them."""

import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deployments.errors import (
    InferenceError,
    InvalidInputError,
    InvalidParameterError,
    PayloadTooLargeError,
    ReplicaLostError,
)
from deployments.fake import FakePipeline
from deployments.plan import cut
from deployments.work import Call, Chunk, Work
from tests.engine.causal import causal_pipeline
from tests.engine.conftest import PATIENCE_S


def _works(*inputs: Any, bulk: bool = False, **parameters: Any) -> list[Work]:
    return [Work(one, parameters, f"id-{one}", bulk) for one in inputs]


class Sized(FakePipeline):
    """The length of a text is its size, and its stages can be told to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards: list[list[str]] = []
        self.most_rows = 10**9
        self.threads: set[str] = set()

    def preprocess(self, inputs: Any) -> dict[str, Any]:
        """Fails on ``bad-preprocess``."""
        self.threads.add(threading.current_thread().name)
        if inputs == "bad-preprocess":
            raise ValueError("this cannot be read")
        return {"echo": inputs, "input_ids": torch.zeros(1, max(1, len(str(inputs))))}

    def forward(self, model_inputs: Any, **parameters: Any) -> Any:
        """Fails on ``bad-forward``, and where there are more rows than the memory takes."""
        self.threads.add(threading.current_thread().name)
        echo = model_inputs["echo"]
        rows = echo if isinstance(echo, list) else [echo]
        self.forwards.append([str(row) for row in rows])
        if len(rows) > self.most_rows:
            raise torch.OutOfMemoryError("no memory")
        if "bad-forward" in rows:
            raise RuntimeError("secret of the model")
        return super().forward(model_inputs, **parameters)

    def postprocess(self, model_outputs: Any) -> Any:
        """Fails on ``bad-postprocess``."""
        self.threads.add(threading.current_thread().name)
        if model_outputs["echo"] == "bad-postprocess":
            raise RuntimeError("secret of the postprocessing")
        return {"echo": model_outputs["echo"]}


def _flood(served: Any, works: list[Work]) -> list[Any]:
    """All of ``works`` prepared and waiting before the model may begin; a first one holds it."""
    release = served.hold()
    for work in works:
        served.engine.submit(work)
    wanted = sum(str(work.inputs) != "bad-preprocess" for work in works)
    served.prepared(min(wanted, 4 * served.engine.limits.max_items))
    release()
    return [done.outcome for done in served.answers.of(works)]


def test_request_alone_runs_at_once_and_alone(serve_pipe: Any) -> None:
    served = serve_pipe(FakePipeline())
    assert served.ask(*_works("a")) == [{"echo": "a", "batch_size": 1}]


def test_what_waits_while_the_model_is_busy_runs_together_each_with_its_own_answer(serve_pipe: Any) -> None:
    served = serve_pipe(FakePipeline(), max_items=3)
    outcomes = _flood(served, _works("a", "b", "c", "d"))
    assert [outcome["echo"] for outcome in outcomes] == ["a", "b", "c", "d"]
    assert served.noted.batches == [1, 3, 1]


def test_other_forward_parameters_wait_for_their_own_batch(serve_pipe: Any) -> None:
    served = serve_pipe(FakePipeline())
    works = [Work(str(index), {"sleep_s": 0.001 * (index % 2)}) for index in range(6)]
    _flood(served, works)
    assert served.noted.batches == [1, 3, 3]


def test_each_stage_has_its_own_thread(serve_pipe: Any) -> None:
    pipe = Sized()
    serve_pipe(pipe).ask(*_works("a", "b"))
    assert pipe.threads == {"prepare", "model", "finish"}


@pytest.mark.parametrize("stage", ["preprocess", "forward", "postprocess"])
@pytest.mark.parametrize("place", [0, 3, 7])
def test_only_the_input_at_fault_fails(
    serve_pipe: Any, stage: str, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    pipe, inputs = Sized(), [f"good-{index}" for index in range(7)]
    inputs.insert(place, f"bad-{stage}")
    served = serve_pipe(pipe, max_padding_waste=0.9)
    with caplog.at_level(logging.ERROR):
        outcomes = _flood(served, _works(*inputs))
    for one, outcome in zip(inputs, outcomes, strict=True):
        if one.startswith("good"):
            assert outcome == {"echo": one}
        else:
            assert type(outcome) is (InvalidInputError if stage == "preprocess" else InferenceError)
            assert "secret" not in str(outcome)
    assert served.noted.failures == 1
    assert len(pipe.forwards) <= 1 + 2 * len(inputs)
    assert ("secret" in caplog.text) == (stage != "preprocess")
    assert all(f"id-good-{index}" not in caplog.text for index in range(7))
    assert served.engine.unwell() is None
    assert served.ask(*_works("after")) == [{"echo": "after"}]


def test_out_of_memory_halves_and_remembers(serve_pipe: Any) -> None:
    pipe = Sized()
    pipe.most_rows = 2
    served = serve_pipe(pipe)
    outcomes = _flood(served, _works(*"abcdefgh"))
    assert [outcome["echo"] for outcome in outcomes] == list("abcdefgh")
    assert served.noted.ceilings
    assert served.noted.ceilings[-1] == served.runner.forwarder.ceiling == 2
    pipe.forwards.clear()
    _flood(served, _works(*"abcdefgh"))
    assert max(map(len, pipe.forwards)) == 2  # nothing is tried that cannot fit


def test_out_of_memory_alone_is_told(serve_pipe: Any) -> None:
    pipe = Sized()
    pipe.most_rows = 0
    (outcome,) = serve_pipe(pipe).ask(*_works("a"))
    assert type(outcome) is PayloadTooLargeError


def test_caller_who_left_costs_no_compute(serve_pipe: Any) -> None:
    pipe = Sized()
    served = serve_pipe(pipe, max_items=1)
    release = served.hold()
    works = _works("a", "b", "c")
    for work in works:
        served.engine.submit(work)
    works[1].abandoned = True
    release()
    served.answers.of([works[0], works[2]])
    assert ["b"] not in pipe.forwards


def test_refused_parameters_fail_before_any_run(serve_pipe: Any) -> None:
    class Refusing(Sized):
        def _sanitize_parameters(self, **given: Any) -> Any:
            if given.get("stride"):
                raise ValueError("`stride` must be less than 5")
            return super()._sanitize_parameters()

    pipe = Refusing()
    (outcome,) = serve_pipe(pipe).ask(*_works("a", stride=9))
    assert type(outcome) is InvalidParameterError
    assert "`stride` must be less than 5" in str(outcome)
    assert pipe.forwards == []


def test_parameters_belong_to_each_call_alone(serve_pipe: Any) -> None:
    """Speech recognition takes keys out of the caller's dictionaries upstream."""

    class Greedy(FakePipeline):
        def _sanitize_parameters(self, **given: Any) -> Any:
            return {}, {"generate_kwargs": given.get("generate_kwargs", {})}, {}

        def forward(self, model_inputs: Any, generate_kwargs: Any = None, **_: Any) -> Any:
            rows = model_inputs["echo"]
            saw = dict(generate_kwargs)
            generate_kwargs.clear()
            return {"echo": rows, "saw": [saw] * len(rows) if isinstance(rows, list) else saw}

    parameters = {"generate_kwargs": {"max_new_tokens": 3}}
    served = serve_pipe(Greedy())
    for _ in range(2):
        outcomes = _flood(served, [Work("a", parameters), Work("b", parameters)])
        assert [outcome["saw"] for outcome in outcomes] == [{"max_new_tokens": 3}] * 2
    assert parameters == {"generate_kwargs": {"max_new_tokens": 3}}


def test_single_request_goes_before_the_items_of_a_long_list(serve_pipe: Any) -> None:
    pipe = Sized()
    served = serve_pipe(pipe, max_items=4)
    release = served.hold()
    listed = _works(*(f"list-{index:02d}" for index in range(40)), bulk=True)
    single = Work("single1", {}, "id-single")
    for work in [*listed, single]:
        served.engine.submit(work)
    release()
    served.answers.of([*listed, single])
    at = next(index for index, rows in enumerate(pipe.forwards) if "single1" in rows)
    # at most what was prepared when it came, and the batch in the model
    assert at <= 6
    assert [row for rows in pipe.forwards for row in rows if row.startswith("list")] == [w.inputs for w in listed]


class Pieces(Sized):
    """Cuts an input of the form ``name*count`` into so many pieces; its answer tells the order of them."""

    def __init__(self) -> None:
        super().__init__()
        self.then: Any = lambda: None

    def preprocess(self, inputs: Any) -> Any:
        """The pieces, all of one size."""
        name, _, count = str(inputs).partition("*")
        for index in range(int(count or 1)):
            yield {"echo": f"{name}-{index}" if count else name, "input_ids": torch.zeros(1, 4)}

    def forward(self, model_inputs: Any, **parameters: Any) -> Any:
        """Calls ``then`` in the third forward after the first."""
        outputs = super().forward(model_inputs, **parameters)
        if len(self.forwards) == 4:
            self.then()
        return outputs

    def postprocess(self, model_outputs: Any) -> Any:
        """The pieces in order."""
        return [output["echo"] for output in model_outputs]


@pytest.mark.parametrize("long", [["a*1600"], ["a*1600", "b*1600", "c*500"]])
def test_single_request_goes_before_the_pieces_of_long_ones(
    long: list[str], serve_pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes while they run, and is in the next forward, however many of their pieces there are."""
    monkeypatch.setattr("deployments.work.BULK_HANDICAP_S", 1e6)  # however slow this machine is
    pipe = Pieces()
    served = serve_pipe(pipe, max_items=32)
    served.runner.finisher._chunked = True
    single = Work("single", {})

    def come() -> None:
        served.engine.submit(single)
        with served.engine._changed:
            inside = served.engine._ready.chunks
            assert served.engine._changed.wait_for(lambda: any(chunk.work is single for chunk in inside), PATIENCE_S)

    pipe.then = come
    release = served.hold()
    works = _works(*long)
    for work in works:
        served.engine.submit(work)
    served.prepared(sum(int(one.partition("*")[2]) for one in long))
    assert served.engine.waiting == sum(int(one.partition("*")[2]) for one in long)
    release()
    answers = [done.outcome for done in served.answers.of([*works, single])]
    assert next(index for index, rows in enumerate(pipe.forwards) if "single" in rows) == 4
    for one, answer in zip(long, answers, strict=False):
        name, _, count = one.partition("*")
        assert answer == [f"{name}-{index}" for index in range(int(count))]
    assert answers[-1] == ["single"]


def test_caller_of_a_long_request_who_leaves_takes_all_of_it_along(serve_pipe: Any) -> None:
    pipe = Pieces()
    served = serve_pipe(pipe, max_items=32)
    served.runner.finisher._chunked = True
    release = served.hold()
    work, last = _works("a*1600", "last")
    for one in (work, last):
        served.engine.submit(one)
    served.prepared(1601)
    work.abandoned = True
    assert served.engine.waiting == 1
    release()
    assert served.answers.of([last])[0].outcome == ["last"]
    assert pipe.forwards == [["first"], ["last"]]


def test_long_text_is_answered_in_a_flood_of_short_ones(serve_pipe: Any) -> None:
    pipe = Sized()
    served = serve_pipe(pipe, max_items=8)
    works = [*_works(*(f"s{index}" for index in range(16))), *_works("l" * 400)]
    works += _works(*(f"t{index}" for index in range(64)))
    _flood(served, works)
    at = next(index for index, rows in enumerate(pipe.forwards) if rows[0].startswith("l"))
    assert at <= 4  # first, s, s, then it: none of the later ones before it
    assert all(len({len(row) for row in rows} & {400}) == 0 or len(rows) == 1 for rows in pipe.forwards)


def test_planner_that_fails_ends_nothing(serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("deployments.engine.cut", broken)
    assert serve_pipe(FakePipeline()).ask(*_works("a", "b"))[1]["echo"] == "b"


def test_requests_are_prepared_while_the_planner_plans(serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_pipe(FakePipeline())
    first, second = _works("first", "second")
    add, added, seen = served.engine._ready.add, threading.Event(), []

    def slow(ready: Any, limits: Any) -> Any:
        monkeypatch.undo()
        monkeypatch.setattr(served.engine._ready, "add", lambda chunks: (add(chunks), added.set()))
        served.engine.submit(second)
        seen.append(added.wait(PATIENCE_S))
        return cut(ready, limits)

    monkeypatch.setattr("deployments.engine.cut", slow)
    served.engine.submit(first)
    assert [done.outcome for done in served.answers.of([first, second])] == [
        {"echo": "first", "batch_size": 1},
        {"echo": "second", "batch_size": 1},
    ]
    assert seen == [True]


def test_lost_device_is_told(serve_pipe: Any) -> None:
    class Lost(FakePipeline):
        def forward(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("CUDA error: device-side assert triggered")

    served = serve_pipe(Lost())
    assert served.engine.unwell() is None
    (outcome,) = served.ask(*_works("a"))
    assert type(outcome) is InferenceError
    assert "device" in served.engine.unwell()


def test_who_waits_when_the_device_is_lost_may_ask_another_replica_and_who_was_in_it_not(serve_pipe: Any) -> None:
    """What was in the batch may be what ended the device: elsewhere it would end the next one."""

    class Lost(Sized):
        def forward(self, model_inputs: Any, **parameters: Any) -> Any:
            outputs = super().forward(model_inputs, **parameters)
            if "poison" in model_inputs["echo"]:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            return outputs

    pipe = Lost()
    served = serve_pipe(pipe, max_items=2)
    outcomes = _flood(served, _works("before", "poison", "later1", "later2", "later3"))
    assert [type(outcome) for outcome in outcomes] == [InferenceError] * 2 + [ReplicaLostError] * 3
    assert pipe.forwards == [["first"], ["before", "poison"]]  # nothing runs on a lost device
    assert type(served.ask(*_works("after"))[0]) is ReplicaLostError


def test_lost_running_batch_is_told_to_who_waits(serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation", check=True)
    greedy = {"max_new_tokens": 3, "do_sample": False}

    def lost(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(served.turns._stepper, "prefill", lost)
    assert type(served.ask(Work("Once", greedy))[0]) is InferenceError
    assert "device" in served.engine.unwell()
    assert type(served.ask(Work("Once", greedy))[0]) is ReplicaLostError


@pytest.mark.parametrize(
    ("stage", "thread"), [("preprocess", "prepare"), ("forward", "model"), ("postprocess", "finish")]
)
def test_stage_that_hangs_is_told_once_all_its_callers_are_gone(
    stage: str, thread: str, serve_pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of its own."""
    now = [0.0]
    monkeypatch.setattr("deployments.watch.time", SimpleNamespace(perf_counter=lambda: now[0]))
    hangs, go = threading.Event(), threading.Event()

    class Hanging(Sized):
        pass

    def hang(self: Any, *args: Any, **parameters: Any) -> Any:
        hangs.set()
        assert go.wait(PATIENCE_S)
        return getattr(Sized, stage)(self, *args, **parameters)

    setattr(Hanging, stage, hang)
    served = serve_pipe(Hanging())
    served.engine.patience_s = lambda: 300.0
    (work,) = _works("a")
    served.engine.submit(work)
    assert hangs.wait(PATIENCE_S)
    now[0] = 599.0
    assert served.engine.unwell() is None
    now[0] = 601.0
    assert served.engine.unwell() == f"the {thread} thread has been at one piece of work for 601 s"
    served.engine.patience_s = lambda: 3600.0  # configured anew
    assert served.engine.unwell() is None
    served.engine.patience_s = lambda: 300.0
    go.set()
    assert served.answers.of([work])[0].outcome == {"echo": "a"}
    now[0] = 99_999.0
    assert served.ask(*_works("b")) == [{"echo": "b"}]
    assert served.engine.unwell() is None


def test_forward_that_tells_tokens_does_not_hang(serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("deployments.watch.time", SimpleNamespace(perf_counter=lambda: now[0]))
    seen: list[str | None] = []

    class Long(Sized):
        def forward(self, model_inputs: Any, **parameters: Any) -> Any:
            for _ in range(5):
                now[0] += 500.0
                served.engine._forwarder.news(chunk, 0)
                now[0] += 500.0
                seen.append(served.engine.unwell())
            return super().forward(model_inputs, **parameters)

    served = serve_pipe(Long())
    served.engine.patience_s = lambda: 300.0
    (work,) = _works("a")
    chunk = Chunk(work, Call("a", {}, {}, {}), 0, {}, 1.0, None)
    served.ask(work)
    assert seen == [None] * 5


def test_ceiling_of_memory_never_rises(serve_pipe: Any) -> None:
    """A chunk that is larger than the ceiling runs alone; its batches say nothing of smaller ones."""
    forwarder = serve_pipe(Sized()).runner.forwarder
    call = Call("a", {}, {"sleep_s": 0.0, "fail_on": None}, {})
    call.outputs = [None]

    def fails(size: float) -> None:
        chunks = [Chunk(Work("a", {}), call, 0, {"echo": "a"}, size, None) for _ in range(2)]
        forwarder._recover(chunks, torch.OutOfMemoryError("no memory"))

    fails(8.0)
    assert forwarder.ceiling == 8.0
    fails(100.0)
    assert forwarder.ceiling == 8.0
    fails(2.0)
    assert forwarder.ceiling == 2.0


def test_stage_times_add_up(serve_pipe: Any) -> None:
    served = serve_pipe(FakePipeline(forward_s=0.05))
    (work,) = _works("a")
    served.engine.submit(work)
    (done,) = served.answers.of([work])
    assert done.forward_s >= 0.05
    assert min(done.stages_s) >= 0
    assert (done.batch_size, done.padding_waste) == (1, 0.0)


@pytest.mark.parametrize(("singles_s", "rows"), [(1000.0, range(2, 25)), (0.0, range(25, 64))])
def test_batches_beside_a_list_are_short(
    singles_s: float, rows: range, serve_pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that take 9 ms each, by a clock of their own: a tenth of a second of them, not the 64 that would fit.

    Half a second of them where the last single request came long ago.
    """
    monkeypatch.setattr("deployments.engine._SINGLES_S", singles_s)
    now = [0.0]
    monkeypatch.setattr("deployments.forward.time", SimpleNamespace(perf_counter=lambda: now[0]))

    class PerLetter(Sized):
        def forward(self, model_inputs: Any, **parameters: Any) -> Any:
            echo = model_inputs["echo"]
            rows = echo if isinstance(echo, list) else [echo]
            now[0] += 0.003 * len(rows) * max(map(len, rows))
            return super().forward(model_inputs, **parameters)

    served = serve_pipe(PerLetter(), max_items=64)
    served.ask(*_works(*(f"x{index:02d}" for index in range(8))))  # learns how fast the model is
    served.noted.batches.clear()
    _flood(served, _works(*(f"l{index:02d}" for index in range(64)), bulk=True))
    assert max(served.noted.batches) in rows
