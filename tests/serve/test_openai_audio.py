"""``/v1/audio/…`` with the ``openai`` package, sync and async; the oracle is the local pipeline, same settings."""

import asyncio
import io
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import openai
import pytest
import soundfile

from tests.serve.cluster import deploy
from tests.serve.described import validate
from tests.serve.local import local_pipeline
from tests.serve.served import case_of, served
from tests.tiny import samples

pytestmark = [pytest.mark.ray, pytest.mark.pipelines, pytest.mark.timeout(300)]

BRIEF = {"max_new_tokens": 20, "num_beams": 1}
WINDOW = 4  # seconds, of the tiny Whisper
SHORT = samples.tone(1, 1.2)
LONG = np.concatenate([samples.tone(seed, 1.7) for seed in range(10)])


def flac(samples_: Any, rate: int = 16000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples_, rate, format="FLAC")
    return buffer.getvalue()


def heard(samples_: Any) -> Any:
    """The samples as they are in the file: whole numbers of 16 bit."""
    return soundfile.read(io.BytesIO(flac(samples_)), dtype="float32")[0]


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    whisper, speaks = case_of("asr-whisper"), case_of("text-to-audio-vits")
    one_piece = {"max_items": 1}  # so that transcripts have as many pieces as there can be
    voices = {"anna": {}, "bert": {"forward_params": {"speaker_id": 1}}}
    models = [
        served(whisper, checkpoints, name="whisper", parameters={"generate_kwargs": BRIEF}, batch=one_piece),
        served(case_of("asr-wav2vec2"), checkpoints, name="ctc", parameters={"chunk_length_s": 5}, batch=one_piece),
        served(speaks, checkpoints, name="say", voices=voices),
        served(speaks, checkpoints, name="mute"),
        served(case_of("text-classification-bert"), checkpoints, name="classify"),
    ]
    deploy(url, {"models": models})
    return url


@pytest.fixture(scope="module")
def client(server: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def whisper(checkpoints: Path) -> Any:
    """The local pipeline, with the settings of the one that is served."""
    pipe = local_pipeline(case_of("asr-whisper"), checkpoints)

    def ask(samples_: Any, **asked: Any) -> Any:
        return pipe(heard(samples_), **{"task": "transcribe", "chunk_length_s": WINDOW, **BRIEF, **asked})

    return ask


def both(server: str, **asked: Any) -> list[Any]:
    """The answers of the synchronous and of the asynchronous client."""

    async def later() -> Any:
        async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
            return await client.audio.transcriptions.create(**asked)

    client = openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)
    return [client.audio.transcriptions.create(**asked), asyncio.run(later())]


@pytest.mark.parametrize("sound", [SHORT, LONG], ids=["short", "long"])
def test_text(server: str, whisper: Any, sound: Any) -> None:
    want = whisper(sound)["text"].strip()
    for answer in both(server, model="whisper", file=("a.flac", flac(sound))):
        assert answer.text == want
        assert (answer.usage.type, answer.usage.seconds) == ("duration", sound.size / 16000)
    for text in both(server, model="whisper", file=("a.flac", flac(sound)), response_format="text"):
        assert text == f"{want}\n"


def test_settings_reach_the_model(client: openai.OpenAI, whisper: Any, checkpoints: Path) -> None:
    tokenizer = local_pipeline(case_of("asr-whisper"), checkpoints).tokenizer
    ids = tokenizer.get_prompt_ids("the river", return_tensors="pt")
    settings = [
        ({"language": "fr"}, {"language": "fr"}),
        ({"language": "english"}, {"language": "en"}),
        ({"prompt": "the river"}, {"prompt_ids": ids}),
    ]
    texts = set()
    for asked, same in settings:
        got = client.audio.transcriptions.create(model="whisper", file=("a.flac", flac(SHORT)), **asked).text
        assert got == whisper(SHORT, **same)["text"].strip()
        texts.add(got)
    got = client.audio.translations.create(model="whisper", file=("a.flac", flac(SHORT))).text
    assert got == whisper(SHORT, task="translate")["text"].strip()
    assert len({*texts, got, whisper(SHORT)["text"].strip()}) > 2, "the settings change nothing"


def test_temperature_draws(client: openai.OpenAI) -> None:
    file = ("a.flac", flac(SHORT))
    drawn: set[str] = set()
    for _ in range(40):  # until two differ, which they soon do where anything is drawn
        drawn.add(client.audio.transcriptions.create(model="whisper", file=file, temperature=1).text)
        if len(drawn) > 1:
            break
    assert len(drawn) > 1
    sure = {client.audio.transcriptions.create(model="whisper", file=file, temperature=0).text for _ in range(2)}
    assert len(sure) == 1


@pytest.mark.parametrize("wanted", [None, ["segment"], ["word"], ["word", "segment"]])
def test_verbose(server: str, whisper: Any, wanted: Any) -> None:
    times = {} if wanted is None else {"timestamp_granularities": wanted}
    for answer in both(server, model="whisper", file=("a.flac", flac(LONG)), response_format="verbose_json", **times):
        words = whisper(LONG, return_timestamps="word")
        segments = whisper(LONG, return_timestamps=True)
        with_words = bool(wanted and "word" in wanted)
        assert answer.text == (words if with_words else segments)["text"].strip()
        assert answer.duration == LONG.size / 16000
        assert (answer.language in ("english", "french"), answer.task) == (True, "transcribe")
        if with_words:
            assert [one.word for one in answer.words] == [one["text"].strip() for one in words["chunks"]]
            assert [one.start for one in answer.words] == [one["timestamp"][0] for one in words["chunks"]]
        else:
            assert answer.words is None
        if wanted != ["word"]:
            assert [one.text for one in answer.segments] == [one["text"] for one in segments["chunks"]]
            assert [one.id for one in answer.segments] == [*range(len(segments["chunks"]))]
            assert [one.start for one in answer.segments] == [one["timestamp"][0] for one in segments["chunks"]]
            assert all(one.end >= one.start and one.avg_logprob is None for one in answer.segments)
        else:
            assert answer.segments is None


@pytest.mark.parametrize("kind", ["json", "verbose_json"])
def test_the_answers_are_as_described(server: str, kind: str) -> None:
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
        answer = httpx.post(
            f"{server}{path}",
            data={"model": "whisper", "response_format": kind},
            files={"file": ("a.flac", flac(SHORT))},
            timeout=60,
        )
        validate(server, path, answer.json())


def test_verbose_translation(client: openai.OpenAI, whisper: Any) -> None:
    answer = client.audio.translations.create(
        model="whisper", file=("a.flac", flac(SHORT)), response_format="verbose_json"
    )
    assert (answer.text, answer.language) == (
        whisper(SHORT, task="translate", return_timestamps=True)["text"].strip(),
        "english",
    )


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles(server: str, whisper: Any, kind: str) -> None:
    segments = [one for one in whisper(LONG, return_timestamps=True)["chunks"] if one["text"].strip()]
    for text in both(server, model="whisper", file=("a.flac", flac(LONG)), response_format=kind):
        with av.open(io.BytesIO(text.encode()), format="srt" if kind == "srt" else "webvtt") as container:
            packets = [packet for packet in container.demux() if packet.size]
        starts = sorted(one["timestamp"][0] for one in segments)
        assert [float(packet.pts * packet.time_base) for packet in packets] == pytest.approx(starts, abs=1e-3)
        assert len(packets) == len(segments)


def pieces(server: str, **asked: Any) -> list[list[Any]]:
    """The events that each client reads."""

    async def later() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0) as client:
            return [event async for event in await client.audio.transcriptions.create(**asked, stream=True)]

    client = openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)
    return [list(client.audio.transcriptions.create(**asked, stream=True)), asyncio.run(later())]


@pytest.mark.parametrize("name", ["whisper", "ctc"])
def test_streamed(server: str, client: openai.OpenAI, name: str) -> None:
    want = client.audio.transcriptions.create(model=name, file=("a.flac", flac(LONG))).text
    for events in pieces(server, model=name, file=("a.flac", flac(LONG))):
        *deltas, done = events
        assert {event.type for event in deltas} == {"transcript.text.delta"}
        assert (done.type, done.text) == ("transcript.text.done", want)
        assert "".join(event.delta for event in deltas) == want
        assert len(deltas) > 1, "nothing was told before the end"


def test_errors_of_a_stream_have_their_status(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="'de' is none that this model knows") as error:
        client.audio.transcriptions.create(model="whisper", file=("a.flac", flac(SHORT)), language="de", stream=True)
    assert error.value.body["param"] == "language"


def test_ctc_tells_words(client: openai.OpenAI, checkpoints: Path) -> None:
    pipe = local_pipeline(case_of("asr-wav2vec2"), checkpoints)
    want = pipe(heard(LONG), return_timestamps="word", chunk_length_s=5)
    got = client.audio.transcriptions.create(
        model="ctc", file=("a.flac", flac(LONG)), response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert (got.text, got.language) == (want["text"].strip(), "unknown")
    assert [(one.word, one.start, one.end) for one in got.words] == [
        (one["text"].strip(), *map(float, one["timestamp"])) for one in want["chunks"]
    ]


BAD: list[tuple[dict[str, str], int, str]] = [
    ({"model": "whisper", "chunking_strategy": "auto"}, 422, "`chunking_strategy` is not offered here"),
    ({"model": "whisper", "include[]": "logprobs"}, 422, "`include` is not offered here"),
    ({"model": "whisper", "response_format": "diarized_json"}, 422, "`response_format` is wrong"),
    ({"model": "whisper", "temperature": "2"}, 422, "`temperature` is wrong"),
    ({"model": "whisper", "temperature": "warm"}, 422, "`temperature` is wrong"),
    ({"model": "whisper", "timestamp_granularities[]": "word"}, 422, "for `response_format=verbose_json`"),
    ({"model": "whisper", "stream": "true", "response_format": "srt"}, 422, "`stream` is for `response_format` `json`"),
    ({"model": "whisper", "language": "de"}, 422, "`language` 'de' is none that this model knows"),
    ({"model": "whisper", "beam": "4"}, 422, "`beam` is unknown"),
    ({"model": "ctc", "language": "en"}, 422, "`language` is for Whisper models"),
    ({"model": "ctc", "prompt": "a"}, 422, "`prompt` is for Whisper models"),
    ({"model": "ctc", "response_format": "srt"}, 422, "can be told of words only"),
    ({"model": "classify"}, 422, "classify serves text-classification"),
    ({"model": "gone"}, 404, "There is no model 'gone' here"),
]


@pytest.mark.parametrize(("fields", "status", "says"), BAD)
def test_bad_fields(server: str, fields: dict[str, str], status: int, says: str) -> None:
    url, files = f"{server}/v1/audio/transcriptions", {"file": ("a.flac", flac(SHORT))}
    answer = httpx.post(url, data=fields, files=files, timeout=60)
    assert (answer.status_code, says in answer.json()["error"]["message"]) == (status, True), answer.text


def test_bad_forms(server: str) -> None:
    url, model = f"{server}/v1/audio/transcriptions", {"model": "whisper"}
    picture = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
    with httpx.Client(timeout=60) as http:
        answers = (
            (http.post(url, json={"model": "whisper"}), 415, "a multipart form with the sound under `file`"),
            (http.post(url, data=model, files={"sound": ("a", flac(SHORT))}), 422, "`sound` is a file"),
            (http.post(url, data={"file": "a", **model}, files={}), 415, "a multipart form"),
            (http.post(url, files={"file": ("a.png", picture), "model": (None, "whisper")}), 415, "an image"),
            (http.post(url, files={"file": ("a.wav", b"RIFF\0\0\0\0WAVE"), "model": (None, "whisper")}), 422, "`file`"),
            (http.post(url, files=[("model", (None, "whisper")), ("model", (None, "ctc"))]), 422, "more than once"),
            (http.post(url, files={"model": (None, "whisper")}), 422, "`file` is missing."),
            (http.post(f"{server}/v1/audio/translations", data={"language": "fr", **model},
                       files={"file": ("a.flac", flac(SHORT))}), 422, "`language` is unknown"),
        )  # fmt: skip
    for answer, status, says in answers:
        assert (answer.status_code, says in answer.json()["error"]["message"]) == (status, True), answer.text


# speech


@pytest.fixture(scope="module")
def say(checkpoints: Path) -> Any:
    return local_pipeline(case_of("text-to-audio-vits"), checkpoints)


def read(file: bytes) -> tuple[Any, int]:
    """Samples ``(channels, samples)`` in [-1, 1] and rate of a sound file, by FFmpeg."""
    with av.open(io.BytesIO(file)) as container:
        frames = list(container.decode(audio=0))
        resampler = av.AudioResampler("fltp", frames[0].layout, frames[0].sample_rate)
        found = [piece.to_ndarray() for frame in frames for piece in resampler.resample(frame)]
        return np.concatenate(found, 1), frames[0].sample_rate


def whole(output: Any) -> Any:
    """The pipeline's samples in whole numbers of 16 bit."""
    return np.round(np.clip(np.ravel(output["audio"]), -1, 1) * 32767)


INPUT = "the river runs by the old house, and on."


@pytest.mark.parametrize("kind", ["wav", "flac"])
@pytest.mark.parametrize(("voice", "speaker"), [("anna", None), ("bert", 1), ({"id": "bert"}, 1)])
def test_lossless_speech_is_the_pipelines(server: str, say: Any, kind: Any, voice: Any, speaker: Any) -> None:
    want = say(INPUT) if speaker is None else say(INPUT, forward_params={"speaker_id": speaker})

    async def later() -> bytes:
        async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="none") as client:
            answer = await client.audio.speech.create(model="say", voice=voice, input=INPUT, response_format=kind)
            return answer.content

    client = openai.OpenAI(base_url=f"{server}/v1", api_key="none")
    answer = client.audio.speech.create(model="say", voice=voice, input=INPUT, response_format=kind)
    for file in (answer.content, asyncio.run(later())):
        samples_, rate = soundfile.read(io.BytesIO(file), dtype="int16")
        assert rate == want["sampling_rate"]
        np.testing.assert_allclose(samples_, whole(want), atol=1)


def test_other_formats_of_speech(client: openai.OpenAI, say: Any) -> None:
    want = say(INPUT)
    seconds = np.size(want["audio"]) / want["sampling_rate"]
    types = {"mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac"}
    for kind, media_type in types.items():
        answer = client.audio.speech.create(model="say", voice="anna", input=INPUT, response_format=kind)  # type: ignore[arg-type]
        samples_, rate = read(answer.content)
        assert answer.response.headers["content-type"] == media_type
        assert samples_.shape[1] / rate == pytest.approx(seconds, abs=0.15)
    default = client.audio.speech.create(model="say", voice="anna", input=INPUT)
    assert default.response.headers["content-type"] == "audio/mpeg"
    with client.audio.speech.with_streaming_response.create(
        model="say", voice="anna", input=INPUT, response_format="pcm"
    ) as streamed:
        bare = np.frombuffer(b"".join(streamed.iter_bytes()), "<i2")
    assert bare.size / 24000 == pytest.approx(seconds, abs=0.01)


def test_a_model_without_voices_has_one(server: str, client: openai.OpenAI, say: Any) -> None:
    file = client.audio.speech.create(model="mute", voice="default", input=INPUT, response_format="wav").content
    samples_, _ = soundfile.read(io.BytesIO(file), dtype="int16")
    np.testing.assert_allclose(samples_, whole(say(INPUT)), atol=1)


BAD_SPEECH: list[tuple[dict[str, Any], str]] = [
    ({"model": "mute", "voice": "alloy"}, "`voice` 'alloy' is none of mute; it has default."),
    ({"model": "say", "voice": "default"}, "`voice` 'default' is none of say; it has anna, bert."),
    ({"model": "say", "voice": 3}, "`voice` must be a name"),
    ({"model": "say"}, "`voice` is missing."),
    ({"model": "say", "voice": "anna", "input": " "}, "`input` is empty."),
    ({"model": "say", "voice": "anna", "speed": 1.5}, "`speed` is not offered here"),
    ({"model": "say", "voice": "anna", "instructions": "Sadly."}, "`instructions` is not offered here"),
    ({"model": "say", "voice": "anna", "stream_format": "sse"}, "`stream_format` is not offered here"),
    ({"model": "say", "voice": "anna", "response_format": "ogg"}, "`response_format` is wrong"),
    ({"model": "whisper", "voice": "anna"}, "whisper serves automatic-speech-recognition"),
]


@pytest.mark.parametrize(("body", "says"), BAD_SPEECH)
def test_bad_requests_for_speech(server: str, body: dict[str, Any], says: str) -> None:
    answer = httpx.post(f"{server}/v1/audio/speech", json={"input": INPUT, **body}, timeout=60)
    assert (answer.status_code, says in answer.json()["error"]["message"]) == (422, True), answer.text


def test_values_that_ask_for_nothing_may_be_there(server: str) -> None:
    body = {"model": "say", "voice": "anna", "input": INPUT, "speed": 1.0, "instructions": "", "stream_format": "audio"}
    assert httpx.post(f"{server}/v1/audio/speech", json=body, timeout=60).status_code == 200
