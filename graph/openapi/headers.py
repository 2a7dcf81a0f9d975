"""The headers of answers (``graph/headers.py``, ``graph/status.py``)."""

from deployments.tasks.forms import Schema

_STAGES = {
    "decode": "reading images and sounds",
    "queue": "waiting between the stages",
    "preprocess": "preparing the input",
    "forward": "the batches of the model that it was part of",
    "postprocess": "making the answer",
    "total": "all of it, in the router",
}


def _header(meaning: str, schema: Schema, required: bool = True) -> Schema:
    return {"description": meaning, "required": required, "schema": schema}


REQUEST_ID: dict[str, Schema] = {
    "x-request-id": _header("The request's id: the caller's own, or a new one.", {"type": "string"})
}
RETRY_AFTER: dict[str, Schema] = {
    "retry-after": _header("Seconds after which to try again.", {"type": "integer", "minimum": 1})
}
WWW_AUTHENTICATE: dict[str, Schema] = {"www-authenticate": _header("How a key is sent.", {"const": "Bearer"})}
ANSWERED: dict[str, Schema] = {
    **REQUEST_ID,
    **{
        f"x-{stage}-ms": _header(f"Milliseconds for {meaning}.", {"type": "number", "minimum": 0})
        for stage, meaning in _STAGES.items()
    },
    "x-batch-size": _header("Rows of the largest batch that it was part of.", {"type": "integer", "minimum": 1}),
    "x-padding-waste": _header("Share of padding in it.", {"type": "number", "minimum": 0, "maximum": 1}),
    "x-cache": _header(
        "`none` if computed for this request, `shared` with an equal one that was running, `hit` if kept from before.",
        {"type": "string", "enum": ["none", "shared", "hit"]},
    ),
    "x-failed-items": _header("How many items of a list failed.", {"type": "integer", "minimum": 1}, required=False),
}
STREAMED: dict[str, Schema] = {
    # a stream begins before there is anything to tell of it
    name: header if name in REQUEST_ID else {**header, "required": False}
    for name, header in ANSWERED.items()
}
SEGMENTS: dict[str, Schema] = {
    "x-segments": _header(
        "Of a map of labels: the segments without their masks, as a JSON list, if that is no longer than 4 KB.",
        {"type": "string"},
        required=False,
    )
}
