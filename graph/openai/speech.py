"""``POST /v1/audio/speech``: text said aloud, as a sound file."""

import time
from typing import Any, ClassVar, Literal

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from deployments.errors import InvalidInputError, InvalidParameterError
from graph.dispatch import Target
from graph.headers import times
from graph.openai.asked import Asked
from graph.openai.calls import call_one
from graph.openai.fields import Body, read
from graph.sound import sound_bytes

SERVING = ("text-to-audio",)
OWN_VOICE = "default"
"""The name of the one voice of a model without ``voices`` in its configuration."""

FORMATS = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


class SpeechBody(Body):
    """The body of a request.

    Args:
        input: what is said.
        voice: a name of the model's voices, or ``{"id": name}``.
        model: by name or source.
        response_format: of the file.
    """

    idle: ClassVar[dict[str, tuple[Any, ...]]] = {
        "speed": (1, 1.0),
        "stream_format": ("audio",),
        "instructions": ("",),
    }

    input: str
    voice: Any
    model: str | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"


async def speech(asked: Asked) -> Response:
    """The file."""
    started = time.perf_counter()
    body = read(SpeechBody, await asked.json())
    if not body.input.strip():
        raise InvalidInputError("`input` is empty.", "input")
    target = asked.target(body.model, SERVING)
    parameters = _voice(target, body.voice)
    result = await call_one(asked, target, body.input, parameters, {"inputs": "input", "parameters": "voice"})
    samples, rate = np.asarray(result.output["audio"]), int(result.output["sampling_rate"])
    media_type = FORMATS[body.response_format]
    file = await run_in_threadpool(sound_bytes, samples, rate, media_type)
    return Response(file, media_type=media_type, headers=times([result], time.perf_counter() - started))


def _voice(target: Target, given: Any) -> dict[str, Any]:
    """Parameters of the call for a voice.

    Raises:
        InvalidParameterError: the model has no such voice; names those that it has.
    """
    name = given.get("id") if isinstance(given, dict) and set(given) == {"id"} else given
    if not isinstance(name, str):
        raise InvalidParameterError('`voice` must be a name, or {"id": name}.', "voice")
    voices = target.config.voices or {OWN_VOICE: {}}
    if name not in voices:
        raise InvalidParameterError(
            f"`voice` {name[:60]!r} is none of {target.name}; it has {', '.join(sorted(voices))}.", "voice"
        )
    return voices[name]
