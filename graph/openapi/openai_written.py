"""What the OpenAI routes for chats and texts answer: schemas among the document's components, and examples."""

from deployments.tasks.forms import Schema
from graph.openapi.build import INTEGER, POSITION, STRING, any_of, closed, listed, ref

_NULL: Schema = {"type": "null"}
_NUMBER: Schema = {"type": "number"}
_TOKEN: Schema = {
    "token": STRING,
    "bytes": listed({"type": "integer", "minimum": 0, "maximum": 255}),
    "logprob": _NUMBER,
}


def _or_null(schema: Schema) -> Schema:
    return any_of(schema, _NULL)


def _head(kind: str) -> Schema:
    return {"id": STRING, "object": {"const": kind}, "created": POSITION, "model": STRING, "system_fingerprint": _NULL}


_CALL = {"id": STRING, "type": {"const": "function"}, "function": closed(name=STRING, arguments=STRING)}
_REASONING = {"reasoning_content": STRING, "reasoning": STRING}
_USAGE = ref("OpenAIUsage")
_MESSAGE = closed(
    {**_REASONING, "tool_calls": listed(closed(**_CALL), minItems=1)},
    role={"const": "assistant"},
    content={"type": ["string", "null"]},
)
_DELTA = closed(
    {
        "role": {"const": "assistant"},
        "content": STRING,
        **_REASONING,
        "tool_calls": listed(closed(index=POSITION, **_CALL), minItems=1),
    }
)
_ENDS = {"enum": ["stop", "length", "tool_calls"]}
_TEXT_ENDS = {"enum": ["stop", "length"]}
_SCORES = closed(content=ref("OpenAITokens"))
_TEXT_SCORES = closed(
    tokens=listed(STRING),
    token_logprobs=listed(_NUMBER),
    top_logprobs=listed({"type": "object", "additionalProperties": _NUMBER}),
    text_offset=listed(POSITION),
)


def _chat_choice(what: str, schema: Schema, ends: Schema) -> Schema:
    return closed(index=POSITION, logprobs=_or_null(ref("OpenAILogprobs")), finish_reason=ends, **{what: schema})


def _text_choice(ends: Schema) -> Schema:
    return closed(index=POSITION, text=STRING, logprobs=_or_null(_TEXT_SCORES), finish_reason=ends)


def _chunk(kind: str, choice: Schema) -> Schema:
    return closed({"usage": _or_null(_USAGE)}, **_head(kind), choices=listed(choice))


_GIVEN = {"created": 1764081000, "model": "chat", "system_fingerprint": None}
_COUNTED = {"prompt_tokens": 37, "completion_tokens": 8, "total_tokens": 45}
CHAT: Schema = {
    "id": "chatcmpl-6f1c…",
    "object": "chat.completion",
    **_GIVEN,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "The capital of France is Paris."},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": _COUNTED,
}
TEXT: Schema = {
    "id": "cmpl-6f1c…",
    "object": "text_completion",
    **_GIVEN,
    "choices": [{"index": 0, "text": " Paris.", "logprobs": None, "finish_reason": "length"}],
    "usage": _COUNTED,
}
ANSWERS: Schema = {
    "OpenAIUsage": closed(prompt_tokens=POSITION, completion_tokens=POSITION, total_tokens=POSITION),
    "OpenAITokens": listed(closed(**_TOKEN, top_logprobs=listed(closed(**_TOKEN)))),
    "OpenAILogprobs": _SCORES,
    "OpenAIChatCompletion": closed(
        **_head("chat.completion"), choices=listed(_chat_choice("message", _MESSAGE, _ENDS)), usage=_or_null(_USAGE)
    ),
    "OpenAIChatCompletionChunk": _chunk("chat.completion.chunk", _chat_choice("delta", _DELTA, _or_null(_ENDS))),
    "OpenAICompletion": closed(
        **_head("text_completion"), choices=listed(_text_choice(_TEXT_ENDS)), usage=_or_null(_USAGE)
    ),
    "OpenAICompletionChunk": _chunk("text_completion", _text_choice(_or_null(_TEXT_ENDS))),
    "OpenAIModel": closed(
        id=STRING, object={"const": "model"}, created=INTEGER, owned_by=STRING, tasks=listed(STRING, minItems=1)
    ),
    "OpenAIModels": closed(object={"const": "list"}, data=listed(ref("OpenAIModel"))),
    "OpenAIFailure": closed(
        error=closed(message=STRING, type=STRING, param={"type": ["string", "null"]}, code=STRING), request_id=STRING
    ),
}
