"""``POST /v1/audio/transcriptions`` and ``/v1/audio/translations``: what a sound says."""

import time
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field
from starlette.responses import Response

from deployments.errors import InvalidParameterError
from deployments.payload import Media
from graph.dispatch import Target
from graph.headers import times
from graph.openai.asked import Asked
from graph.openai.calls import Names, call_one, renamed
from graph.openai.fields import Body, read
from graph.openai.form import read_sound
from graph.openai.heard import answer_heard
from graph.openai.transcript import answer

SERVING = ("automatic-speech-recognition",)
Format = Literal["json", "text", "srt", "verbose_json", "vtt"]
_NOT_OFFERED = (
    "chunking_strategy",
    "include",
    "keywords",
    "languages",
    "known_speaker_names",
    "known_speaker_references",
)
# what the pipeline calls them → what these routes do
_NAMES: Names = {
    "inputs": "file",
    "parameters.return_timestamps": "timestamp_granularities",
    "parameters.task": "model",
    "parameters": "",
}


class TranslationBody(Body):
    """The fields of a request for English text.

    Args:
        model: by name or source.
        prompt: text as if said before.
        response_format: of the answer.
        temperature: 0 decodes as the model's configuration says; above it, tokens are drawn (at most 1).
    """

    model_config = ConfigDict(strict=False)  # fields of a form are text

    model: str | None = None
    prompt: str | None = None
    response_format: Format = "json"
    temperature: float = Field(default=0, ge=0, le=1)


class TranscriptionBody(TranslationBody):
    """The fields of a request for text in the language of the sound.

    Args:
        language: of the sound, ``en`` or ``english``; left out, the model hears it.
        timestamp_granularities: what ``verbose_json`` has: ``segment`` (default), ``word``.
        stream: tell the text as it is made out.
    """

    idle: ClassVar[dict[str, tuple[Any, ...]]] = dict.fromkeys(_NOT_OFFERED, ())

    language: str | None = None
    timestamp_granularities: list[Literal["word", "segment"]] = Field(default_factory=list)
    stream: bool = False


async def transcriptions(asked: Asked) -> Response:
    """The text, in the language of the sound."""
    fields, sound = await read_sound(asked, frozenset({"timestamp_granularities"}))
    body = read(TranscriptionBody, fields)
    target = asked.target(body.model, SERVING)
    if body.timestamp_granularities and body.response_format != "verbose_json":
        raise InvalidParameterError(
            "`timestamp_granularities` are for `response_format=verbose_json`.", "timestamp_granularities"
        )
    wanted = frozenset(body.timestamp_granularities or (["segment"] if _timed(body) else []))
    parameters = _parameters(target, body, "transcribe", wanted)
    if body.language is not None:
        parameters["language"] = body.language
    if body.stream:
        return await _streamed(asked, target, body, sound, parameters)
    return await _answered(asked, target, body, sound, parameters, wanted)


async def translations(asked: Asked) -> Response:
    """The text in English."""
    fields, sound = await read_sound(asked, frozenset())
    body = read(TranslationBody, fields)
    target = asked.target(body.model, SERVING)
    wanted = frozenset(["segment"] if _timed(body) else [])
    parameters = _parameters(target, body, "translate", wanted)
    return await _answered(asked, target, body, sound, parameters, wanted)


def _timed(body: TranslationBody) -> bool:
    """Whether the format has times."""
    return body.response_format in ("srt", "verbose_json", "vtt")


def _parameters(target: Target, body: TranslationBody, task: str, wanted: frozenset[str]) -> dict[str, Any]:
    """Of the call; long sounds are cut as the configuration has it, else into the windows of the model."""
    given: dict[str, Any] = {"verbose": True, "task": task}
    given["return_timestamps"] = "word" if "word" in wanted else bool(wanted) or None
    if target.config.parameters.get("chunk_length_s") is None:
        given["chunk_length_s"] = "auto"
    if body.prompt:
        given["prompt"] = body.prompt
    if body.temperature:
        given |= {"do_sample": True, "temperature": body.temperature}
    return given


async def _answered(
    asked: Asked,
    target: Target,
    body: TranslationBody,
    sound: Media,
    parameters: dict[str, Any],
    wanted: frozenset[str],
) -> Response:
    started = time.perf_counter()
    result = await call_one(asked, target, sound, parameters, _NAMES)
    english = parameters["task"] == "translate"
    made = answer(result.output, body.response_format, wanted, body.temperature, english)
    made.headers.update(times([result], time.perf_counter() - started))
    return made


async def _streamed(
    asked: Asked, target: Target, body: TranscriptionBody, sound: Media, parameters: dict[str, Any]
) -> Response:
    if body.response_format not in ("json", "text"):
        raise InvalidParameterError("`stream` is for `response_format` `json` and `text`.", "stream")
    source = await asked.dispatcher.stream(target, sound, parameters, asked.request_id)
    return await answer_heard(source, asked.request_id, lambda error: renamed(error, _NAMES))
