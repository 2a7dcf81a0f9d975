"""What the OpenAI routes for vectors, ranks and sound answer: schemas among the document's components, and examples."""

from typing import Any

from deployments.tasks.forms import Schema
from graph.openapi.build import POSITION, STRING, any_of, closed, listed, ref

_NUMBER: Schema = {"type": "number"}
_NOT_TOLD: Schema = {"type": "null"}
_DURATION = closed(type={"const": "duration"}, seconds=_NUMBER)
_TOKENS = closed(prompt_tokens=POSITION, total_tokens=POSITION)

EMBEDDED: Schema = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.028, -0.0664, 0.0149]}],
    "model": "embed",
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}
RANKED: Schema = {
    "id": "rerank-6f1c…",
    "object": "list",
    "model": "embed",
    "results": [{"index": 1, "relevance_score": 0.62}],
    "usage": {"prompt_tokens": 17, "total_tokens": 17},
}
DECIDED: Schema = {
    "model": "decide",
    "answers": {"open": {"type": "noul", "noul": 0.97}},
    "usage": {"input_tokens": 81, "output_tokens": 0},
}


def _error() -> Schema:
    parts: dict[str, Any] = {"message": STRING, "type": STRING, "param": {"type": ["string", "null"]}, "code": STRING}
    return closed(error=closed(**parts), request_id=STRING)


SCHEMAS: dict[str, Schema] = {
    "OpenAIFailure": _error(),
    "OpenAIEmbeddings": closed(
        object={"const": "list"},
        data=listed(
            closed(
                object={"const": "embedding"},
                index=POSITION,
                embedding=any_of(listed(_NUMBER), {"type": "string", "contentEncoding": "base64"}),
            )
        ),
        model=STRING,
        usage=_TOKENS,
    ),
    "Ranking": closed(
        id=STRING,
        object={"const": "list"},
        model=STRING,
        results=listed(closed({"document": closed(text=STRING)}, index=POSITION, relevance_score=_NUMBER)),
        usage=_TOKENS,
    ),
    "Decisions": closed(
        model=STRING,
        answers={"type": "object", "additionalProperties": ref("Decision")},
        usage=closed(input_tokens=POSITION, output_tokens={"const": 0}),
    ),
    "OpenAITranscript": closed(text=STRING, usage=_DURATION),
    "OpenAIVerboseTranscript": closed(
        {
            "words": listed(closed(word=STRING, start=_NUMBER, end=_NUMBER)),
            "segments": listed(
                closed(
                    id=POSITION,
                    seek=_NOT_TOLD,
                    start=_NUMBER,
                    end=_NUMBER,
                    text=STRING,
                    tokens=listed(POSITION),
                    temperature=_NUMBER,
                    avg_logprob=_NOT_TOLD,
                    compression_ratio=_NUMBER,
                    no_speech_prob=_NOT_TOLD,
                )
            ),
        },
        task={"enum": ["transcribe", "translate"]},
        language=STRING,
        duration=_NUMBER,
        text=STRING,
        usage=_DURATION,
    ),
    "OpenAITranscriptEvent": any_of(
        closed(type={"const": "transcript.text.delta"}, delta=STRING),
        closed(type={"const": "transcript.text.done"}, text=STRING),
        ref("OpenAIFailure"),
    ),
}
