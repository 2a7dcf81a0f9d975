"""The OpenAI routes for vectors, ranks and sound: one operation for all models that serve it, one for each of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from deployments.config import ModelConfig
from deployments.tasks.forms import Schema
from graph.accept import JSON
from graph.openai import embeddings, rerank, speech, systemone, transcriptions
from graph.openai.fields import Body
from graph.openapi.build import STRING, any_of, closed, listed, ref
from graph.openapi.headers import ANSWERED, STREAMED
from graph.openapi.openai_answers import DECIDED, EMBEDDED, RANKED, SCHEMAS
from graph.openapi.openai_operation import operation, paths_of

_TEXTS = any_of(STRING, listed(STRING, minItems=1))


@dataclass(frozen=True)
class _Route:
    """A route under ``/v1/``.

    Args:
        path: of it.
        serving: tasks of models that it can ask.
        summary: in a few words.
        body: what it reads.
        example: of the body, apart from the model and the file.
        answers: media type → schema and example of what it gives.
        own: schemas of fields that the body's types do not tell.
        form: whether it reads a form with a sound rather than JSON.
        streams: whether the answer may come in pieces.
    """

    path: str
    serving: tuple[str, ...]
    summary: str
    body: type[Body]
    example: Schema
    answers: Schema
    own: Schema = field(default_factory=dict)
    form: bool = False
    streams: bool = False


_TRANSCRIPT: Schema = {
    JSON: {
        "schema": any_of(ref("OpenAITranscript"), ref("OpenAIVerboseTranscript")),
        "example": {"text": "It opens at nine.", "usage": {"type": "duration", "seconds": 1.8}},
    },
    "text/plain": {"schema": STRING},
    "application/x-subrip": {"schema": STRING},
    "text/vtt": {"schema": STRING},
}
_DOCUMENTS = listed(any_of(STRING, closed(text=STRING)), minItems=1)

_ROUTES = (
    _Route(
        "embeddings",
        embeddings.SERVING,
        "A vector for each text.",
        embeddings.EmbeddingsBody,
        {"input": ["The library opens at nine."]},
        {JSON: {"schema": ref("OpenAIEmbeddings"), "example": EMBEDDED}},
        {"input": _TEXTS},
    ),
    _Route(
        "rerank",
        rerank.SERVING,
        "Documents by how well they answer a query.",
        rerank.RerankBody,
        {"query": "When does it open?", "documents": ["I like fish.", "It opens at nine."], "top_n": 1},
        {JSON: {"schema": ref("Ranking"), "example": RANKED}},
        {"documents": _DOCUMENTS},
    ),
    _Route(
        "systemone",
        systemone.SERVING,
        "Questions about a state, with a probability for each answer.",
        systemone.SystemOneBody,
        {"state": "It opens at nine.", "questions": {"open": {"type": "noul", "instructions": "Is it open?"}}},
        {JSON: {"schema": ref("Decisions"), "example": DECIDED}},
    ),
    _Route(
        "audio/transcriptions",
        transcriptions.SERVING,
        "What a sound says.",
        transcriptions.TranscriptionBody,
        {},
        {**_TRANSCRIPT, "text/event-stream": {"schema": STRING, "x-item-schema": ref("OpenAITranscriptEvent")}},
        form=True,
        streams=True,
    ),
    _Route(
        "audio/translations",
        transcriptions.SERVING,
        "What a sound says, in English.",
        transcriptions.TranslationBody,
        {},
        _TRANSCRIPT,
        form=True,
    ),
    _Route(
        "audio/speech",
        speech.SERVING,
        "Text said aloud.",
        speech.SpeechBody,
        {"input": "It opens at nine.", "voice": "default"},
        {media_type: {"schema": {}} for media_type in speech.FORMATS.values()},
        {"voice": any_of(STRING, closed(id=STRING))},
    ),
)


def paths(models: Sequence[ModelConfig]) -> Schema:
    """The paths of the routes that some of ``models`` serve."""
    return paths_of(_ROUTES, models, _operation)


def _operation(route: _Route, names: list[str], suffix: str) -> Schema:
    kind = "multipart/form-data" if route.form else JSON
    content: Schema = {kind: {"schema": _request(route, names, bool(suffix))}}
    if not route.form:
        content[kind]["example"] = {"model": names[0], **route.example}
    headers = STREAMED if route.streams else ANSWERED
    return operation(route, names, suffix, content, headers, route.answers)


def _request(route: _Route, names: list[str], named: bool) -> Schema:
    """The fields of a body, with what its class says of each."""
    schema = route.body.model_json_schema()
    about = _said(route.body)
    properties: Schema = {}
    for name, given in schema["properties"].items():
        known = {key: value for key, value in {**given, **route.own.get(name, {})}.items() if key != "title"}
        properties[name] = {**known, **({"description": about[name]} if name in about else {})}
    properties["model"] = {**STRING, "description": "By name or source.", "examples": names}
    required = [*schema.get("required", []), *([] if named else ["model"])]
    if route.form:
        properties["file"] = {"description": "The sound, in any format that FFmpeg reads."}
        required.append("file")
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _said(body: type[Body]) -> dict[str, str]:
    """What the docstrings of a class and of those that it extends say of each field."""
    found: dict[str, str] = {}
    for kind in reversed(body.__mro__):
        text = re.sub(r"\n {9,}", " ", kind.__doc__ or "") if issubclass(kind, Body) else ""
        for name, said in re.findall(r"^ {8}(\w+): (.+)$", text, re.MULTILINE):
            found[name] = f"{said[0].upper()}{said[1:]}"
    return found


def schemas(models: Sequence[ModelConfig]) -> dict[str, Schema]:
    """The components that `paths` refers to."""
    text = repr(paths(models))
    used = {name: schema for name, schema in SCHEMAS.items() if f"/{name}'" in text}
    return {**used, **({"OpenAIFailure": SCHEMAS["OpenAIFailure"]} if used else {})}
