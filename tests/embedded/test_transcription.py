"""The embedded Whisper on real speech: transcripts, long ones too, are the local pipeline's, and are told early."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from deployments.av_files import read_sound
from deployments.config import MediaLimits, ModelConfig
from deployments.engine import Engine
from deployments.load import load
from deployments.observe import Observer
from deployments.plan import Limits
from deployments.run import PipelineRunner
from deployments.work import Done, Work
from tests.tiny.compare import difference

pytestmark = [pytest.mark.pipelines, pytest.mark.timeout(300)]

SPEECH = Path(__file__).with_name("data") / "speech.ogg"
SAID = "my name is peter and i live in a small house near the river"
ASKED = {"verbose": True, "chunk_length_s": "auto", "task": "transcribe", "language": "en"}


@pytest.fixture(scope="module")
def runner(models: dict[str, Path]) -> PipelineRunner:
    task, model = "automatic-speech-recognition", str(models["whisper-tiny.en"])
    config = ModelConfig(name="transcribe", task=task, model=model, packed_linear=False)
    return PipelineRunner(config, load(config), MediaLimits())


@pytest.fixture(scope="module")
def local(models: dict[str, Path]) -> Any:
    task = "automatic-speech-recognition"
    return transformers.pipeline(task, model=str(models["whisper-tiny.en"]), device="cpu")


@pytest.fixture(scope="module")
def long() -> Any:
    """53 s: the sentence twelve times."""
    return np.tile(read_sound(SPEECH.read_bytes(), 16000, MediaLimits(), "inputs"), 12)


def words(text: str) -> str:
    return " ".join("".join(letter for letter in text.lower() if letter.isalpha() or letter == " ").split())


def test_words_and_segments_of_one_sentence(runner: PipelineRunner, local: Any) -> None:
    sound = read_sound(SPEECH.read_bytes(), 16000, MediaLimits(), "inputs")
    got = runner.run(sound, {**ASKED, "return_timestamps": "word"})
    assert words(got["text"]) == SAID
    assert got["chunks"] == local(sound.copy(), return_timestamps="word")["chunks"]
    segments = local(sound.copy(), return_timestamps=True)["chunks"]
    assert [one["timestamp"] for one in got["segments"]] == [one["timestamp"] for one in segments]
    assert (got["language"], got["duration"]) == ("english", sound.size / 16000)


def test_a_long_sound_is_the_pipelines_alone_and_told(runner: PipelineRunner, local: Any, long: Any) -> None:
    """How early it is told, tiny models show: of a sentence that comes again and again, little is sure early."""
    asked = {**ASKED, "return_timestamps": True, "num_beams": 1}
    want = local(long.copy(), chunk_length_s=30, return_timestamps=True, num_beams=1)
    assert want["text"].count("small house") > 4
    events: list[Any] = []
    answers: list[Done] = []
    arrived = threading.Event()

    def deliver(finished: list[tuple[Work, Done]]) -> None:
        answers.extend(done for _, done in finished)
        if finished:
            arrived.set()

    engine = Engine(runner.stages, Limits(1, 1e9, 0.5), Observer(), deliver)
    try:
        engine.submit(Work(long, asked, emit=events.extend))
        assert arrived.wait(200)
    finally:
        engine.close()
    got = answers[0].outcome
    assert difference({name: got[name] for name in want}, want) is None
    heard = events[1:]
    assert "".join(event.text for event in heard) == want["text"]
