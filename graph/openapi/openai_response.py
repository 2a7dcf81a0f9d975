"""What the OpenAI route for responses answers: schemas among the document's components, and an example."""

from deployments.tasks.forms import Schema
from graph.openapi.build import POSITION, STRING, any_of, closed, listed, ref

_NULL: Schema = {"type": "null"}
_NUMBER: Schema = {"type": "number"}
_OBJECT: Schema = {"type": "object"}
_STATUS: Schema = {"enum": ["in_progress", "completed", "incomplete"]}
_TEXT = closed(
    type={"const": "output_text"}, text=STRING, annotations=listed({}, maxItems=0), logprobs=ref("OpenAITokens")
)
_THOUGHT = closed(type={"const": "reasoning_text"}, text=STRING)
_ITEMS = {
    "message": {"role": {"const": "assistant"}, "content": listed(_TEXT)},
    "reasoning": {"summary": listed({}, maxItems=0), "content": listed(_THOUGHT)},
    "function_call": {"call_id": STRING, "name": STRING, "arguments": STRING},
}
_USAGE = closed(
    input_tokens=POSITION,
    input_tokens_details=closed(cached_tokens={"const": 0}, cache_write_tokens={"const": 0}),
    output_tokens=POSITION,
    output_tokens_details=closed(reasoning_tokens=POSITION),
    total_tokens=POSITION,
)
_TOOL = closed(
    type={"const": "function"},
    name=STRING,
    description={"type": ["string", "null"]},
    parameters={"type": ["object", "null"]},
    strict={"type": "boolean"},
)
_WHERE = {"item_id": STRING, "output_index": POSITION}


def _or_null(schema: Schema) -> Schema:
    return any_of(schema, _NULL)


def _event(name: str, /, **fields: Schema) -> Schema:
    return closed(type={"const": name}, sequence_number=POSITION, **fields)


def _lifecycle() -> list[Schema]:
    names = ("created", "in_progress", "completed", "incomplete", "failed")
    return [_event(f"response.{name}", response=ref("OpenAIResponse")) for name in names]


def _of_items() -> list[Schema]:
    names = ("added", "done")
    part = any_of(_TEXT, _THOUGHT)
    return [
        *(_event(f"response.output_item.{one}", output_index=POSITION, item=ref("OpenAIItem")) for one in names),
        *(_event(f"response.content_part.{one}", **_WHERE, content_index=POSITION, part=part) for one in names),
    ]


def _of_text() -> list[Schema]:
    within = {**_WHERE, "content_index": POSITION}
    return [
        _event("response.output_text.delta", **within, delta=STRING, logprobs=ref("OpenAITokens")),
        _event("response.output_text.done", **within, text=STRING, logprobs=ref("OpenAITokens")),
        _event("response.reasoning_text.delta", **within, delta=STRING),
        _event("response.reasoning_text.done", **within, text=STRING),
        _event("response.function_call_arguments.delta", **_WHERE, delta=STRING),
        _event("response.function_call_arguments.done", **_WHERE, name=STRING, arguments=STRING),
    ]


_FAILURE = {"code": STRING, "message": STRING, "param": {"type": ["string", "null"]}}
RESPONSE: Schema = {
    "id": "resp_6f1c…",
    "object": "response",
    "created_at": 1764081000,
    "model": "chat",
    "background": False,
    "instructions": None,
    "max_output_tokens": 16,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "status": "completed",
    "completed_at": 1764081001,
    "error": None,
    "incomplete_details": None,
    "output": [
        {
            "id": "msg_6f1c…",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [
                {
                    "type": "output_text",
                    "text": "The capital of France is Paris.",
                    "annotations": [],
                    "logprobs": [],
                }
            ],
        }
    ],
    "usage": {
        "input_tokens": 37,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 45,
    },
}
RESPONSES: Schema = {
    "OpenAIItem": any_of(
        *(closed(type={"const": kind}, id=STRING, status=_STATUS, **fields) for kind, fields in _ITEMS.items())
    ),
    "OpenAIResponse": closed(
        id=STRING,
        object={"const": "response"},
        created_at=POSITION,
        model=STRING,
        background={"const": False},
        instructions=_or_null(STRING),
        max_output_tokens=_or_null(POSITION),
        metadata=_OBJECT,
        parallel_tool_calls={"type": "boolean"},
        previous_response_id=_NULL,
        reasoning=closed(effort=_or_null(STRING), summary=_NULL),
        service_tier={"const": "default"},
        store={"const": False},
        temperature=_or_null(_NUMBER),
        text=closed(format=_OBJECT),
        tool_choice=any_of({"enum": ["none", "auto", "required"]}, closed(type={"const": "function"}, name=STRING)),
        tools=listed(_TOOL),
        top_logprobs=POSITION,
        top_p=_or_null(_NUMBER),
        truncation={"const": "disabled"},
        status={"enum": ["in_progress", "completed", "incomplete", "failed"]},
        completed_at=_or_null(POSITION),
        error=_or_null(closed(code=STRING, message=STRING)),
        incomplete_details=_or_null(closed(reason={"const": "max_output_tokens"})),
        output=listed(ref("OpenAIItem")),
        usage=_or_null(_USAGE),
    ),
    "OpenAIResponseChunk": any_of(
        *_lifecycle(), *_of_items(), *_of_text(), _event("error", **_FAILURE, error=closed(**_FAILURE, type=STRING))
    ),
}
