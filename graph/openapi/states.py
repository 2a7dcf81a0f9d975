"""What the server says of itself (``graph/catalog.py``): index, models, their state."""

from deployments.tasks.forms import Schema
from graph.openapi.build import POSITION, STRING, closed, listed, ref

_STRINGS = listed(STRING)
_MAYBE_STRING: Schema = {"type": ["string", "null"]}
_DEFAULTS: Schema = {"description": "Parameters of a call that leaves them out.", "type": "object"}
_STATE = {"state": {"enum": ["ready", "loading", "failed", "asleep"]}, "replicas": POSITION}
_REASON = {"reason": {"description": "Why it failed.", **STRING}}
_NUMBER: Schema = {"type": "number", "minimum": 0}

COMPONENTS: dict[str, Schema] = {
    "State": closed(_REASON, **_STATE),
    "Readiness": closed(ready={"type": "boolean"}, models={"type": "object", "additionalProperties": ref("State")}),
    "Index": closed(
        models={"type": "object", "additionalProperties": closed(task=STRING, url=STRING)}, routes=_STRINGS
    ),
    "Resolved": closed(name=STRING, task=STRING, defaults=_DEFAULTS),
    "Model": closed(
        {
            "architecture": STRING,
            "batching": closed(
                {
                    "reason": STRING,
                    "generation": {"enum": ["steps", "batches"]},
                    "generation_reason": STRING,
                    "generation_media": STRING,
                },
                mode={"enum": ["padded", "equal", "alone"]},
                unit=STRING,
            ),
            "embeddings": closed(
                pooling=_STRINGS, prompts=_STRINGS, max_tokens={"type": ["integer", "null"], "minimum": 1}
            ),
            "weight_bytes": POSITION,
            "quantization": STRING,
            "device_map": {"description": "Device → bytes.", "type": "object", "additionalProperties": POSITION},
            "load_seconds": _NUMBER,
            "gpus": _STRINGS,
            "waiting": POSITION,
            "generating": POSITION,
            "max_batch_items": POSITION,
            "max_padded_cost": _NUMBER,
            "max_padding_waste": _NUMBER,
            **_REASON,
        },
        name=STRING,
        task=STRING,
        tasks={"description": "Every task that it serves, told apart by the input.", **_STRINGS},
        model=STRING,
        model_id=STRING,
        pipeline_tag=STRING,
        revision=_MAYBE_STRING,
        dtype=STRING,
        device=STRING,
        parameters=_STRINGS,
        defaults=_DEFAULTS,
        **_STATE,
    ),
}
