"""The answer of a speech recognition model → a transcript in the format asked for."""

import zlib
from typing import Any

from starlette.responses import JSONResponse, Response

from graph.openai.subtitles import Cue, srt, vtt

_UNKNOWN = "unknown"
_TEXT = {"srt": "application/x-subrip", "vtt": "text/vtt", "text": "text/plain"}


def answer(output: Any, kind: str, wanted: frozenset[str], temperature: float, english: bool) -> Response:
    """The response.

    Args:
        output: of a call with ``verbose``.
        kind: the ``response_format``.
        wanted: of ``segment`` and ``word``, what a ``verbose_json`` has.
        temperature: of the request.
        english: whether the text is a translation.
    """
    if kind == "json":
        return JSONResponse({"text": output["text"].strip(), "usage": _usage(output)})
    if kind == "verbose_json":
        return JSONResponse(_verbose(output, wanted, temperature, english))
    cues = [Cue(start, end, part["text"]) for part, start, end in timed(output.get("segments", ()), output["duration"])]
    text = {"text": lambda: f"{output['text'].strip()}\n", "srt": lambda: srt(cues), "vtt": lambda: vtt(cues)}[kind]()
    return Response(text.encode(errors="replace"), media_type=f"{_TEXT[kind]}; charset=utf-8")


def _usage(output: Any) -> dict[str, Any]:
    return {"type": "duration", "seconds": output["duration"]}


def _verbose(output: Any, wanted: frozenset[str], temperature: float, english: bool) -> dict[str, Any]:
    found = {
        "task": "translate" if english else "transcribe",
        "language": "english" if english else output["language"] or _UNKNOWN,
        "duration": output["duration"],
        "text": output["text"].strip(),
    }
    if "word" in wanted:
        words = timed(output["chunks"], output["duration"])
        found["words"] = [{"word": part["text"].strip(), "start": start, "end": end} for part, start, end in words]
    if "segment" in wanted:
        segments = timed(output["segments"], output["duration"])
        found["segments"] = [_segment(number, *one, temperature) for number, one in enumerate(segments)]
    return {**found, "usage": _usage(output)}


def _segment(number: int, part: dict[str, Any], start: float, end: float, temperature: float) -> dict[str, Any]:
    """A segment as OpenAI has it; what the pipeline does not tell of it is null."""
    return {
        "id": number,
        "seek": None,
        "start": start,
        "end": end,
        "text": part["text"],
        "tokens": part["tokens"],
        "temperature": temperature,
        "avg_logprob": None,
        "compression_ratio": _compression(part["text"]),
        "no_speech_prob": None,
    }


def _compression(text: str) -> float:
    """How often the text's bytes are as many as when deflated, as in Whisper; above 2.4 it likely repeats itself."""
    data = text.encode(errors="replace")
    return len(data) / len(zlib.compress(data))


def timed(parts: Any, duration: float) -> list[tuple[dict[str, Any], float, float]]:
    """Each part with its start and end in seconds.

    A model may leave out the time at which a part ends, or begins: then the next one's beginning or the end of the
    sound counts, and the end of the one before.
    """
    found: list[tuple[dict[str, Any], float, float]] = []
    for index, part in enumerate(parts):
        start, end = part["timestamp"]
        if start is None:
            start = found[-1][2] if found else 0.0
        if end is None:
            later = (one["timestamp"][0] for one in parts[index + 1 :])
            end = next((time for time in later if time is not None), duration)
        found.append((part, float(start), max(float(start), float(end))))
    return found
