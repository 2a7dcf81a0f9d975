"""Prompts with pictures and sounds in the running batch: each gets what it gets alone, streamed too."""

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from deployments.errors import InvalidInputError, InvalidParameterError
from deployments.events import Started, Step
from deployments.work import Work
from tests.engine.media import qwen2_vl
from tests.engine.scarce import Scarce
from tests.tiny import CASES, samples

BY_ID = {case.id: case for case in CASES}
NAMES = ("image-text-to-text-llava", "image-text-to-text-idefics3", "qwen2-vl", "any-to-any-qwen2-audio")
GREEDY = {"max_new_tokens": 12, "do_sample": False}


@pytest.fixture
def pipe_of(load_case: Callable[[Any], Any]) -> Callable[[str], Any]:
    """The pipeline called so."""
    return lambda name: qwen2_vl() if name == "qwen2-vl" else load_case(BY_ID[name])


def _inputs(name: str) -> list[Any]:
    """Prompts with media and without."""
    if name == "any-to-any-qwen2-audio":
        return [*BY_ID[name].inputs, [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]]
    first, second, third = samples.pictures()
    chats = [
        [{"type": "image", "image": first}, {"type": "text", "text": "What is in it?"}],
        [{"type": "text", "text": "Who are you, and who is the dog?"}],
        [{"type": "image", "image": second}, {"type": "text", "text": "And?"}, {"type": "image", "image": third}],
        [{"type": "text", "text": "Go"}],
        [
            {"type": "image", "image": third},
            {"type": "text", "text": "Tell me about the river in this picture"},
        ],
    ]
    return [[{"role": "user", "content": content}] for content in chats]


def _local(pipe: Any, given: Any, **more: Any) -> Any:
    settings = {**GREEDY, **more}
    torch.manual_seed(settings.pop("seed", 0))
    given = copy.deepcopy(given)
    if pipe.task == "any-to-any" and isinstance(given, dict):
        return pipe(**given, generate_kwargs=settings)
    return pipe(text=given, generate_kwargs=settings)


def _texts(records: Any) -> list[Any]:
    """What was generated, without the media that the prompt repeats."""
    texts = [record["generated_text"] for record in records]
    return [text[-1]["content"] if isinstance(text, list) else text for text in texts]


def _work(given: Any, emit: Any = None, **more: Any) -> Work:
    ours = {name: more.pop(name) for name in ("seed", "details", "stop", "grammar") if name in more}
    return Work(copy.deepcopy(given), {"generate_kwargs": {**GREEDY, **more}, **ours}, emit=emit)


def _flood(served: Any, works: list[Work]) -> list[Any]:
    text = [{"role": "user", "content": [{"type": "text", "text": "Go"}]}]
    release = served.hold(text, {"generate_kwargs": GREEDY})
    for work in works:
        served.engine.submit(work)
    served.prepared(len(works))
    release()
    return [done.outcome for done in served.answers.of(works)]


@pytest.mark.parametrize("name", NAMES)
def test_each_gets_what_it_gets_alone(name: str, pipe_of: Any, serve_pipe: Any) -> None:
    pipe, chance = pipe_of(name), random.Random(name)
    served = serve_pipe(pipe, pipe.task, check=True)
    assert served.runner.info()["batching"]["generation"] == "steps", served.runner.info()
    inputs = _inputs(name)
    calls = [(chance.choice(inputs), {"max_new_tokens": chance.randint(2, 30)}) for _ in range(14)]
    expected = [_texts(_local(pipe, given, **more)) for given, more in calls]
    outcomes = _flood(served, [_work(given, **more) for given, more in calls])
    assert [_texts(outcome) for outcome in outcomes] == expected
    assert len({str(one) for one in expected}) > 3
    assert max(served.noted.batches) > 3
    assert served.runner.info()["batching"]["generation_media"]  # what was there has been compared at the start


@pytest.mark.parametrize("name", NAMES)
def test_several_answers_and_seeds(name: str, pipe_of: Any, serve_pipe: Any) -> None:
    pipe = pipe_of(name)
    served = serve_pipe(pipe, pipe.task, check=True)
    given = _inputs(name)[0]
    wild = {"do_sample": True, "temperature": 2.0, "max_new_tokens": 10}
    several, first, again, other = _flood(
        served,
        [
            _work(given, **wild, seed=4, num_return_sequences=3),
            _work(given, **wild, seed=4),
            _work(given, **wild, seed=4),
            _work(_inputs(name)[1], **wild, seed=4),
        ],
    )
    assert _texts(first) == _texts(again) == _texts(_local(pipe, given, **wild, seed=4))
    assert _texts(several)[0] == _texts(first)[0]
    assert len(set(_texts(several))) == 3
    assert len(other) == 1


@pytest.mark.parametrize("name", NAMES)
def test_prompt_that_goes_back_to_the_queue_reads_its_media_again(
    name: str, pipe_of: Any, serve_pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.run.Turns", Scarce)
    pipe = pipe_of(name)
    served = serve_pipe(pipe, pipe.task, check=True)
    inputs = _inputs(name) * 2
    outcomes = _flood(served, [_work(given) for given in inputs])
    assert [_texts(outcome) for outcome in outcomes] == [_texts(_local(pipe, given)) for given in inputs]
    assert served.noted.ceilings


def _streamed(events: list[Any], expected: Any, prompt: int | None = None) -> None:
    started, *steps = events
    assert isinstance(started, Started)
    assert prompt in (None, started.input_length)
    assert all(isinstance(step, Step) for step in steps)
    assert [step.index for step in steps] == list(range(1, len(steps) + 1))
    assert [step.finish is not None for step in steps] == [False] * (len(steps) - 1) + [True]
    finish = steps[-1].finish
    assert _texts(finish.output) == _texts(expected)
    assert finish.generated_tokens == len(steps)
    assert "".join(step.token.text for step in steps) == finish.text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stepping", [True, False])
def test_streams(name: str, stepping: bool, pipe_of: Any, serve_pipe: Any) -> None:
    """Without the check at start nothing with media steps: those are streamed from ``generate``."""
    pipe = pipe_of(name)
    served = serve_pipe(pipe, pipe.task, check=stepping)
    for given in _inputs(name):
        events: list[Any] = []
        expected = _local(pipe, given, max_new_tokens=20)
        (outcome,) = served.ask(_work(given, events.extend, max_new_tokens=20))
        assert not isinstance(outcome, Exception), outcome
        _streamed(events, expected)
        assert events[-1].finish.reason == "length"
        text = _texts(expected)[0]
        assert text.endswith(events[-1].finish.text)


def test_stream_that_ends_by_itself(pipe_of: Any, serve_pipe: Any) -> None:
    pipe = pipe_of(NAMES[0])
    given, told = _inputs(NAMES[0])[0], []
    for check in (True, False):
        served, events = serve_pipe(pipe, pipe.task, check=check), []
        served.ask(_work(given, events.extend, eos_token_id=_sixth(pipe, given)))
        _streamed(events, _local(pipe, given, eos_token_id=_sixth(pipe, given)))
        told.append((events[0].input_length, events[-1].finish.reason, events[-1].finish.generated_tokens))
    assert told[0] == told[1]
    assert told[0][1] == "eos_token"


def _sixth(pipe: Any, given: Any) -> int:
    records = pipe(text=copy.deepcopy(given), generate_kwargs=dict(GREEDY), return_tensors=True)
    return int(records[0]["generated_token_ids"][-7])


def test_caller_who_leaves_ends_a_stream_from_generate(pipe_of: Any, serve_pipe: Any) -> None:
    pipe = pipe_of(NAMES[0])
    served = serve_pipe(pipe, pipe.task)
    events: list[Any] = []
    work = _work(_inputs(NAMES[0])[0], max_new_tokens=900)

    def leave(some: list[Any]) -> None:
        events.extend(some)
        work.abandoned = sum(isinstance(event, Step) for event in events) >= 3

    work.emit = leave
    after = _work(_inputs(NAMES[0])[1])
    outcome = _left(served, work, after)
    assert _texts(outcome) == _texts(_local(pipe, after.inputs))
    assert len(work.calls[0].streamed.rows[0].tokens) < 900


def _left(served: Any, work: Work, after: Work) -> Any:
    """The answer to ``after``, submitted behind one whose caller leaves and so is never told."""
    served.engine.submit(work)
    served.engine.submit(after)
    return served.answers.of([after])[0].outcome


@pytest.mark.parametrize(
    ("more", "says"),
    [({"num_beams": 2}, "`num_beams`"), ({"num_return_sequences": 2, "do_sample": True}, "one answer")],
)
def test_stream_that_cannot_be(more: dict[str, Any], says: str, pipe_of: Any, serve_pipe: Any) -> None:
    pipe = pipe_of(NAMES[0])
    for check in (True, False):
        served = serve_pipe(pipe, pipe.task, check=check)
        (outcome,) = served.ask(_work(_inputs(NAMES[0])[0], lambda _: None, **more))
        assert type(outcome) is InvalidParameterError
        assert says in str(outcome)


@pytest.mark.parametrize("check", [True, False])
def test_bounds_are_those_of_text(check: bool, pipe_of: Any, serve_pipe: Any) -> None:
    pipe = pipe_of(NAMES[0])
    served = serve_pipe(pipe, pipe.task, check=check, max_new_tokens=40)
    (picture,) = [part for part in _inputs(NAMES[0])[0][0]["content"] if part["type"] == "image"]
    long = [{"role": "user", "content": [picture, {"type": "text", "text": "a b " * 600}]}]
    near = [{"role": "user", "content": [picture, {"type": "text", "text": "a b " * 490}]}]
    short = {"generate_kwargs": {"do_sample": False}}
    refused, more, capped = served.ask(
        _work(long),
        _work(near, max_new_tokens=500),
        Work(_inputs(NAMES[0])[0], short),
    )
    assert type(refused) is InvalidInputError
    assert "context is 1024" in str(refused)
    assert "truncate" not in str(refused)
    assert type(more) is InvalidParameterError
    assert "at most 40" in str(more)
    assert len(capped) == 1
    tight = serve_pipe(pipe, pipe.task, check=check)
    (refused,) = tight.ask(_work(near, max_new_tokens=500))
    assert type(refused) is InvalidParameterError
    assert "500 new ones are asked for" in str(refused)


def test_details_penalties_and_grammars_work_with_pictures(pipe_of: Any, serve_pipe: Any) -> None:
    pipe = pipe_of(NAMES[0])
    served = serve_pipe(pipe, pipe.task, check=True)
    given = _inputs(NAMES[0])[0]
    asked = {"grammar": {"type": "regex", "value": "[0-9]{3}"}, "details": True}
    (outcome,) = served.ask(_work(given, **asked))
    text = _texts(outcome)[0]
    assert text.isdigit()
    assert len(text) == 3
    assert outcome[0]["details"]["finish_reason"] == "eos_token"


def test_model_that_attends_otherwise_with_pictures_generates_them_whole(
    pipe_of: Any, serve_pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text steps all the same."""
    from deployments.stepwise.media import Media

    at = Media.at
    monkeypatch.setattr(Media, "at", lambda self, *args: {name: value * 0 for name, value in at(self, *args).items()})
    pipe = pipe_of(NAMES[0])
    served = serve_pipe(pipe, pipe.task, check=True)
    assert served.runner.preparer.steps.enabled
    assert not served.runner.preparer.steps.media
    inputs = _inputs(NAMES[0])
    outcomes = _flood(served, [_work(given) for given in inputs])
    assert [_texts(outcome) for outcome in outcomes] == [_texts(_local(pipe, given)) for given in inputs]
