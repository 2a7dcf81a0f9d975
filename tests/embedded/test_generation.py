"""The packaged SmolLM2, token by token: 32 prompts of all lengths that come at different times, each as it is alone."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.config import MediaLimits, ModelConfig
from deployments.engine import Engine
from deployments.load import load
from deployments.observe import Observer
from deployments.run import PipelineRunner
from deployments.warm_up import warm_up
from deployments.work import Done, Work

pytestmark = [pytest.mark.pipelines, pytest.mark.timeout(600)]

TOPICS = ("rivers", "the moon", "bread", "a small house", "the library", "winter", "trains", "music")
PATIENCE_S = 400


def _prompt(number: int) -> Any:
    text = f"Write about {' and '.join(TOPICS[: 1 + number % 8])}."
    return [{"role": "user", "content": text}] if number % 2 else text


def _parameters(number: int) -> dict[str, Any]:
    more = {"repetition_penalty": 1.3} if number % 5 == 0 else {}
    return {"max_new_tokens": 6 + number % 7, "do_sample": False, **more}


@pytest.fixture(scope="module")
def runner(models: dict[str, Path]) -> PipelineRunner:
    config = ModelConfig(name="chat", task="text-generation", model=str(models["smollm2-135m-instruct"]))
    runner = PipelineRunner(config, load(config), MediaLimits())
    warm_up(runner, {})
    return runner


@pytest.fixture
def answers(runner: PipelineRunner) -> Iterator[tuple[Engine, list[Any]]]:
    changed, found = threading.Condition(), dict[int, Done]()

    def deliver(finished: list[tuple[Work, Done]]) -> None:
        with changed:
            found.update({id(work): done for work, done in finished})
            changed.notify_all()

    limits = runner.batch_limits(runner.config.batch)
    engine = Engine(runner.stages, limits, Observer(), deliver, runner.turns())
    works = [Work(_prompt(number), _parameters(number)) for number in range(32)]
    for number, work in enumerate(works):
        engine.submit(work)
        time.sleep(0.05 * (number % 3))  # no condition: they come as callers do
    with changed:
        assert changed.wait_for(lambda: len(found) == len(works), PATIENCE_S)
    yield engine, [found[id(work)] for work in works]
    engine.close()


def test_each_is_answered_as_alone(runner: PipelineRunner, answers: tuple[Engine, list[Done]]) -> None:
    assert runner.info()["batching"]["generation"] == "steps"
    _, done = answers
    assert max(one.batch_size for one in done) > 1
    for number, one in enumerate(done):
        assert one.outcome == runner.pipe(_prompt(number), **_parameters(number)), number
