"""Transcripts of tiny models in this process: parameters of our own, long sounds in pieces, text told early.

The oracle is the local pipeline with the same settings.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import WhisperForConditionalGeneration

from deployments.config import MediaLimits, ModelConfig
from deployments.engine import Engine
from deployments.errors import InvalidParameterError
from deployments.events import Heard, Started
from deployments.hearing import Hearer
from deployments.load import load
from deployments.observe import Observer
from deployments.plan import Limits
from deployments.run import PipelineRunner
from deployments.work import Call, Done, Work
from tests.tiny import CASES, checkpoint, samples
from tests.tiny.compare import difference

pytestmark = pytest.mark.pipelines

BRIEF = {"max_new_tokens": 20, "num_beams": 1}
LONG = np.concatenate([samples.tone(seed, 1.7) for seed in range(10)])  # 17 s: windows of 4 s
VERY_LONG = np.concatenate([samples.tone(seed, 1.7) for seed in range(24)])  # 40.8 s: windows of 30 s
SHORT = samples.tone(1, 1.2)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Whisper of two languages, the same for English only, and a CTC model."""
    root = tmp_path_factory.mktemp("checkpoints")
    cases = {case.id: case for case in CASES}
    whisper = checkpoint(cases["asr-whisper"], root)
    english = root / "english"
    model = WhisperForConditionalGeneration.from_pretrained(whisper)
    for name in ("lang_to_id", "task_to_id"):
        delattr(model.generation_config, name)
    model.generation_config.is_multilingual = False
    model.save_pretrained(english)
    transformers.AutoProcessor.from_pretrained(whisper).save_pretrained(english)
    return {"whisper": whisper, "english": english, "ctc": checkpoint(cases["asr-wav2vec2"], root)}


@pytest.fixture(scope="module")
def runners(folders: dict[str, Path]) -> dict[str, PipelineRunner]:
    found = {}
    for name, folder in folders.items():
        config = ModelConfig(name=name, task="automatic-speech-recognition", model=str(folder), packed_linear=False)
        found[name] = PipelineRunner(config, load(config), MediaLimits())
    return found


@pytest.fixture(scope="module")
def local(folders: dict[str, Path]) -> dict[str, Any]:
    task = "automatic-speech-recognition"
    return {name: transformers.pipeline(task, model=str(folder), device="cpu") for name, folder in folders.items()}


@pytest.mark.parametrize("times", [None, True, "word"])
@pytest.mark.parametrize(("sound", "window"), [(SHORT, 0), (LONG, 4)], ids=["short", "long"])
def test_a_transcript_is_the_pipelines(
    runners: dict[str, Any], local: dict[str, Any], times: Any, sound: Any, window: int
) -> None:
    asked = {"return_timestamps": times, "task": "transcribe", **BRIEF}
    got = runners["whisper"].run(sound, {**asked, "verbose": True, "chunk_length_s": "auto"})
    want = local["whisper"](sound.copy(), **asked, chunk_length_s=window)
    assert difference({name: got[name] for name in want}, want) is None
    assert got["duration"] == pytest.approx(sound.size / 16000)
    if sound is SHORT:
        pipe = local["whisper"]
        features = pipe.feature_extractor(sound, sampling_rate=16000, return_tensors="pt").input_features
        (number,) = pipe.model.detect_language(features, num_segment_frames=400).tolist()
        assert (
            got["language"] == {"<|en|>": "english", "<|fr|>": "french"}[pipe.tokenizer.convert_ids_to_tokens(number)]
        )
    if times:
        segments = local["whisper"](sound.copy(), **{**asked, "return_timestamps": True}, chunk_length_s=window)
        mine = [{name: one[name] for name in ("timestamp", "text")} for one in got["segments"]]
        assert difference(mine, segments["chunks"]) is None
        decode = runners["whisper"].pipe.tokenizer.decode
        assert [decode(one["tokens"]) for one in got["segments"]] == [one["text"] for one in segments["chunks"]]


def test_without_parameters_of_ours_nothing_is_added(runners: dict[str, Any], local: dict[str, Any]) -> None:
    for asked in ({"return_timestamps": True}, {"chunk_length_s": 3}, {"chunk_length_s": 3, "return_timestamps": True}):
        want = local["whisper"](LONG.copy(), **asked, **BRIEF)
        assert difference(runners["whisper"].run(LONG, {**asked, **BRIEF}), want) is None


@pytest.mark.parametrize("beams", [1, 3])
def test_pieces_of_several_sounds_share_a_batch_and_keep_their_languages(runners: dict[str, Any], beams: int) -> None:
    asked = {"task": "transcribe", "verbose": True, "chunk_length_s": "auto", **BRIEF, "num_beams": beams}
    sounds = [samples.tone(seed, 3) for seed in range(12)] + [LONG]
    alone = [runners["whisper"].run(sound, asked) for sound in sounds]
    together, chunks = runners["whisper"].run_together(sounds, asked)
    assert len({chunk.group for chunk in chunks}) == 1
    assert difference(together, alone) is None
    assert {answer["language"] for answer in alone} == {"english", "french"}, "the models hear nothing"


def test_the_language_is_given_or_heard(runners: dict[str, Any], local: dict[str, Any]) -> None:
    for language in ("fr", "french", "<|fr|>"):
        got = runners["whisper"].run(SHORT, {"task": "transcribe", "language": language, "verbose": True, **BRIEF})
        want = local["whisper"](SHORT.copy(), task="transcribe", language="fr", **BRIEF)
        assert (got["text"], got["language"]) == (want["text"], "french")
    with pytest.raises(InvalidParameterError, match=r"'de' is none that this model knows; it knows en, fr"):
        raise runners["whisper"].run(SHORT, {"language": "de", "verbose": True})


def test_a_prompt_is_what_prompt_ids_are(runners: dict[str, Any], local: dict[str, Any]) -> None:
    pipe = local["whisper"]
    ids = pipe.tokenizer.get_prompt_ids("What is the city", return_tensors="pt")
    want = pipe(SHORT.copy(), **BRIEF, prompt_ids=ids)
    assert runners["whisper"].run(SHORT, {**BRIEF, "prompt": "What is the city"}) == want
    assert want != pipe(SHORT.copy(), **BRIEF)
    # 64 positions: the last 31 tokens, as Whisper has it
    ids = pipe.tokenizer.get_prompt_ids("the cat " * 40, return_tensors="pt")
    want = pipe(SHORT.copy(), **BRIEF, prompt_ids=torch.cat([ids[:1], ids[-31:]]))
    assert runners["whisper"].run(SHORT, {**BRIEF, "prompt": "the cat " * 40}) == want
    with pytest.raises(InvalidParameterError, match=r"`parameters.prompt` has no room beside `max_new_tokens` of 62"):
        raise runners["whisper"].run(SHORT, {"max_new_tokens": 62, "prompt": "the cat"})


def test_an_english_model_is_asked_for_what_it_does(runners: dict[str, Any], local: dict[str, Any]) -> None:
    asked = {"verbose": True, "task": "transcribe", "language": "en", **BRIEF}
    assert runners["english"].run(SHORT, asked) == {
        **local["english"](SHORT.copy(), **BRIEF),
        "language": "english",
        "duration": 1.2,
    }


REFUSED = [
    ("english", {"task": "translate"}, "`parameters.task` cannot be `translate`: this model does not translate"),
    ("english", {"language": "fr"}, "`parameters.language` must be `en` or left out"),
    ("ctc", {"task": "translate"}, "`parameters.task` cannot be `translate`"),
    ("ctc", {"language": "en"}, "`parameters.language` is for Whisper models"),
    ("ctc", {"temperature": 0.5}, "`parameters.temperature` is for Whisper models"),
    ("ctc", {"prompt": "a"}, "`parameters.prompt` is for Whisper models"),
    ("ctc", {"return_timestamps": True}, "can be told of words only"),
]


@pytest.mark.parametrize(("name", "asked", "says"), REFUSED)
def test_what_a_model_cannot_do_is_refused(
    runners: dict[str, Any], name: str, asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidParameterError) as error:
        raise runners[name].run(SHORT, {"verbose": True, **asked})
    assert says in str(error.value)


@pytest.mark.parametrize("times", [None, "word"])
def test_a_ctc_model_has_words_and_windows_of_30_s(runners: dict[str, Any], local: dict[str, Any], times: Any) -> None:
    asked = {"return_timestamps": times} if times else {}
    for sound, window in ((SHORT, 0), (VERY_LONG, 30)):
        got = runners["ctc"].run(sound, {"verbose": True, "task": "transcribe", "chunk_length_s": "auto", **asked})
        want = local["ctc"](sound.copy(), **asked, chunk_length_s=window)
        assert difference({name: got[name] for name in want}, want) is None
        assert got["language"] is None


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("whisper", {"chunk_length_s": "auto", "task": "transcribe", **BRIEF}),
        ("whisper", {"chunk_length_s": 2, **BRIEF}),
        ("ctc", {"chunk_length_s": 3}),
        ("ctc", {"chunk_length_s": 30}),
    ],
)
def test_text_is_told_early_and_never_taken_back(runners: dict[str, Any], name: str, asked: dict[str, Any]) -> None:
    """One piece a batch, so that there is as much to tell as there can be."""
    runner, arrived = runners[name], threading.Event()
    events: list[Any] = []
    answers: list[Done] = []

    def deliver(finished: list[tuple[Work, Done]]) -> None:
        answers.extend(done for _, done in finished)
        if finished:  # after each batch, whether or not it ended a request
            arrived.set()

    engine = Engine(runner.stages, Limits(1, 1e9, 0.5), Observer(), deliver)
    try:
        engine.submit(Work(LONG, dict(asked), emit=events.extend))
        assert arrived.wait(100)
    finally:
        engine.close()
    assert isinstance(events[0], Started)
    heard = events[1:]
    assert all(isinstance(event, Heard) for event in heard)
    text = runner.run(LONG, dict(asked))["text"]
    assert "".join(event.text for event in heard) == text
    assert [event.output for event in heard[:-1]] == [None] * (len(heard) - 1)
    assert heard[-1].output == answers[0].outcome
    assert heard[-1].output["text"] == text
    if asked["chunk_length_s"] != 30:
        assert len(heard) > 2, "nothing was told before the end"


def test_the_end_of_a_piece_that_the_next_one_corrects_is_not_told(runners: dict[str, Any]) -> None:
    pipe = runners["whisper"].pipe
    pieces = [
        " What a river by the house is bad",
        " the house is great and the dog was",
        " the dog was not in the city",
    ]
    call = Call(None, {}, {}, {}, outputs=[None] * 3)
    work, hearer, told = Work(None, {}, calls=[call]), Hearer(pipe), []
    for place, text in enumerate(pieces):
        tokens = torch.tensor([pipe.tokenizer(text, add_special_tokens=False).input_ids])
        call.outputs[place] = {"tokens": tokens, "stride": (64000, 10000 * (place > 0), 10000 * (place < 2))}
        told += [event.text for event in hearer.more(work)]
    text = pipe.postprocess(call.outputs)["text"]
    assert text == " What a river by the house is great and the dog was not in the city"
    assert len(told) == 2, "nothing was told before the end"
    assert "".join(told) + hearer.last(work, {"text": text}).text == text
