"""The pipeline's own values in JSON (``deployments/codec.py``) as JSON Schema: requests and answers with types kept."""

from deployments.codec import MEDIA_TYPE
from deployments.tasks.forms import Schema
from graph.openapi.build import STRING, any_of, closed, listed, ref

RAW = MEDIA_TYPE
_BYTES: Schema = {"type": "string", "contentEncoding": "base64"}
_VALUE = ref("PipelineValue")
_SHAPE = listed({"type": "integer", "minimum": 0})
_ARRAY = {"dtype": STRING, "shape": _SHAPE, "data": _BYTES}


def _typed(name: str, **parts: Schema) -> Schema:
    return closed(**{"$type": {"const": name}, **parts})


COMPONENTS: dict[str, Schema] = {
    "PipelineValue": {
        "description": "Ordinary JSON, in which an object with the key `$type` is a value that JSON does not have.",
        **any_of(
            {"type": ["null", "boolean", "number", "string"]},
            listed(_VALUE),
            {"type": "object", "additionalProperties": _VALUE, "properties": {"$type": False}},
            _typed("tuple", items=listed(_VALUE)),
            _typed("ndarray", **_ARRAY),
            _typed("tensor", **_ARRAY, torch=STRING),
            _typed("scalar", dtype=STRING, data=_BYTES),
            _typed("image", mode=STRING, data=_BYTES),
            _typed("image", mode=STRING, array=closed(**_ARRAY)),
            _typed("media", kind={"enum": ["image", "audio", "video"]}, data=_BYTES),
            _typed("float", value={"enum": ["nan", "inf", "-inf"]}),
            _typed("bytes", data=_BYTES),
            _typed("dict", items=listed(listed(_VALUE, minItems=2, maxItems=2))),
        ),
    },
}
