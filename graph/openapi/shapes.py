"""What answers are made of: schemas with a name of their own, which stand among the document's components."""

from deployments.tasks.forms import Schema
from graph.openapi.build import INTEGER, POSITION, STRING, any_of, closed, file, listed, ref

NUMBER, PROBABILITY, PNG = ref("Number"), ref("Probability"), ref("Png")
_MAYBE_POSITION: Schema = {"type": ["integer", "null"], "minimum": 0}
_LOGPROB: Schema = {"type": ["number", "null"], "maximum": 0}
_FINISH: dict[str, Schema] = {
    "finish_reason": {"enum": ["length", "eos_token", "stop_sequence"]},
    "generated_tokens": POSITION,
    "seed": _MAYBE_POSITION,
}

COMPONENTS: dict[str, Schema] = {
    "Number": {"description": "Null where the model computed no finite number.", "type": ["number", "null"]},
    "Probability": {
        "description": "Null where the model computed no finite number.",
        "type": ["number", "null"],
        "minimum": 0,
        "maximum": 1,
    },
    "Png": file("image/png"),
    "Label": closed(label=STRING, score=NUMBER),
    "ChosenLabel": closed(label=STRING, score=PROBABILITY),
    "Box": {"description": "In pixels of the image.", **closed(xmin=INTEGER, ymin=INTEGER, xmax=INTEGER, ymax=INTEGER)},
    "Detection": closed(score=PROBABILITY, label=STRING, box=ref("Box")),
    "Point": closed(x=NUMBER, y=NUMBER),
    "Features": {"description": "Numbers, nested as the model's output is.", **listed(any_of(NUMBER, ref("Features")))},
    "Chat": {
        "description": "The messages of the call and the model's answer.",
        **listed({"type": "object", "properties": {"role": STRING}, "required": ["role", "content"]}, minItems=1),
    },
    "Token": closed(
        entity=STRING, score=PROBABILITY, index=POSITION, word=STRING, start=_MAYBE_POSITION, end=_MAYBE_POSITION
    ),
    "Entity": closed(entity_group=STRING, score=PROBABILITY, word=STRING, start=_MAYBE_POSITION, end=_MAYBE_POSITION),
    "Filling": closed(score=PROBABILITY, token=POSITION, token_str=STRING, sequence=STRING),
    "Span": closed(score=NUMBER, start=INTEGER, end=INTEGER, answer=STRING),
    "Cells": any_of(
        closed(
            {"aggregator": STRING},
            answer=STRING,
            coordinates=listed(listed(POSITION, minItems=2, maxItems=2)),
            cells=listed(STRING),
        ),
        closed(answer=STRING),
    ),
    "Decision": any_of(
        closed(type={"const": "noul"}, noul=PROBABILITY),
        closed(
            type={"const": "choice"},
            choice=STRING,
            confidence=PROBABILITY,
            probabilities={"type": "object", "additionalProperties": PROBABILITY},
        ),
        closed(
            type={"const": "score"},
            score=NUMBER,
            legend={"type": "object"},
            confidence=PROBABILITY,
            probabilities={"type": "object", "additionalProperties": PROBABILITY},
        ),
    ),
    "Sound": closed(
        {"content-type": {"const": "audio/wav"}},
        audio=file("audio/wav"),
        sampling_rate={"description": "In Hz.", "type": "integer", "minimum": 1},
    ),
    "Piece": closed(
        {
            "timestamp": {
                "description": "Begin and end in seconds; null where the model told none.",
                **listed(NUMBER, minItems=2, maxItems=2),
            },
            "language": {"type": ["string", "null"]},
        },
        text=STRING,
    ),
    "Segment": closed(timestamp=listed(NUMBER, minItems=2, maxItems=2), text=STRING, tokens=listed(POSITION)),
    "GeneratedToken": {
        "description": "`text` is what it adds to the answer, `logprob` of the model's own scores.",
        **closed(id=POSITION, text=STRING, logprob=_LOGPROB, special={"type": "boolean"}),
    },
    "Details": closed(
        {"top_tokens": listed(listed(ref("GeneratedToken")))},
        **_FINISH,
        prefill=listed(closed(id=POSITION, text=STRING, logprob=_LOGPROB)),
        tokens=listed(ref("GeneratedToken")),
    ),
    "StreamEvent": {
        "description": "After `data:`, one for each token; the last has the text. An error has its own body.",
        **closed(
            {"top_tokens": listed(ref("GeneratedToken"))},
            index={"type": "integer", "minimum": 1},
            token=ref("GeneratedToken"),
            generated_text={"type": ["string", "null"]},
            details=any_of({"type": "null"}, closed(**_FINISH, input_length=POSITION)),
        ),
    },
    "RunLengths": closed(size=listed(POSITION, minItems=2, maxItems=2), counts=listed(POSITION)),
    "ItemError": {
        "description": "In the place of an item of a list that failed.",
        **closed({"field": STRING}, error=STRING, error_type=STRING),
    },
}
