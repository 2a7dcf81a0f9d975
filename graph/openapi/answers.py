"""What each task answers in the wire format (``graph/encode.py``), as JSON Schema, with an example."""

from dataclasses import dataclass
from typing import Any

from deployments.tasks.forms import Schema
from graph.openapi.build import ANY, INTEGER, POSITION, STRING, any_of, closed, listed, ref
from graph.openapi.shapes import NUMBER, PNG, PROBABILITY

_TOKENS = listed(INTEGER)
_TEXT_OR_CHAT = any_of(STRING, ref("Chat"))


def _generated(name: str) -> Schema:
    """Records of one key ``{name}_text``, or of token ids where those were asked for."""
    texts, tokens = {f"{name}_text": STRING}, {f"{name}_token_ids": _TOKENS}
    return listed(any_of(closed(**texts), closed(**tokens)))


_CONVERSED = listed(
    any_of(
        closed({"details": ref("Details")}, input_text=_TEXT_OR_CHAT, generated_text=_TEXT_OR_CHAT),
        closed({"details": ref("Details")}, input_text=_TEXT_OR_CHAT, generated_token_ids=_TOKENS),
    )
)
_MADE = listed(
    any_of(
        _CONVERSED["items"],
        closed(input_text=_TEXT_OR_CHAT, generated_image=PNG),
        closed(input_text=_TEXT_OR_CHAT, generated_audio=ref("Features")),
    )
)


@dataclass(frozen=True)
class Answer:
    """The answer to one input in JSON, and an example of it."""

    schema: Schema
    example: Any


_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
_WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQIAAAAAAA=="
_BOX = {"xmin": 12, "ymin": 8, "xmax": 96, "ymax": 80}
_TWO_LABELS = [{"label": "cat", "score": 0.92}, {"label": "dog", "score": 0.08}]
_LABELS = Answer(listed(ref("Label")), _TWO_LABELS)
_CHOSEN = Answer(listed(ref("ChosenLabel")), _TWO_LABELS)
_CONVERSATION = [{"input_text": "What is this?", "generated_text": "What is this? A cat."}]

ANSWERS: dict[str, Answer] = {
    "text-classification": Answer(
        listed(listed(ref("Label")), minItems=1, maxItems=1), [[{"label": "POSITIVE", "score": 0.99}]]
    ),
    "token-classification": Answer(
        any_of(
            listed(any_of(ref("Token"), ref("Entity"))),
            listed(listed(any_of(ref("Token"), ref("Entity")))),
        ),
        [{"entity_group": "LOC", "score": 0.99, "word": "Oslo", "start": 9, "end": 13}],
    ),
    "fill-mask": Answer(
        any_of(listed(ref("Filling")), listed(listed(ref("Filling")))),
        [{"score": 0.6, "token": 7480, "token_str": "opens", "sequence": "the library opens at nine."}],
    ),
    "feature-extraction": Answer(any_of(ref("Features"), listed(STRING)), [[[0.12, -0.53], [0.4, 0.07]]]),
    "sentence-similarity": Answer(listed({"type": "number", "minimum": -1, "maximum": 1}), [0.48, 0.02]),
    "zero-shot-classification": Answer(
        listed(ref("ChosenLabel")), [{"label": "place", "score": 0.9}, {"label": "food", "score": 0.1}]
    ),
    "text-generation": Answer(
        listed(
            any_of(
                closed({"details": ref("Details")}, generated_text=_TEXT_OR_CHAT),
                closed({"details": ref("Details")}, generated_token_ids=_TOKENS),
            )
        ),
        [{"generated_text": "The library opens at nine. It closes at five."}],
    ),
    "table-question-answering": Answer(
        any_of(ref("Cells"), listed(ref("Cells"))),
        {"answer": "2", "coordinates": [[1, 1]], "cells": ["2"], "aggregator": "NONE"},
    ),
    "decision": Answer(
        {"type": "object", "additionalProperties": ref("Decision")}, {"open": {"type": "noul", "noul": 0.97}}
    ),
    "text-to-audio": Answer(ref("Sound"), {"audio": _WAV, "content-type": "audio/wav", "sampling_rate": 16000}),
    "audio-classification": _LABELS,
    "automatic-speech-recognition": Answer(
        closed(
            {
                "chunks": listed(ref("Piece")),
                "language": {"type": ["string", "null"]},
                "duration": {"description": "Seconds.", "type": "number", "minimum": 0},
                "segments": listed(ref("Segment")),
            },
            text=STRING,
        ),
        {"text": "Good morning.", "chunks": [{"text": "Good morning.", "timestamp": [0.0, 1.2]}]},
    ),
    "zero-shot-audio-classification": _CHOSEN,
    "image-classification": _LABELS,
    "image-feature-extraction": Answer(ref("Features"), [[[0.12, -0.53], [0.4, 0.07]]]),
    "image-segmentation": Answer(
        listed(closed(score=PROBABILITY, label=STRING, mask=PNG)), [{"score": 0.95, "label": "cat", "mask": _PIXEL}]
    ),
    "object-detection": Answer(listed(ref("Detection")), [{"score": 0.95, "label": "cat", "box": _BOX}]),
    "zero-shot-object-detection": Answer(listed(ref("Detection")), [{"score": 0.4, "label": "a cat", "box": _BOX}]),
    "zero-shot-image-classification": _CHOSEN,
    "depth-estimation": Answer(
        closed(predicted_depth=listed(listed(NUMBER)), depth=PNG), {"predicted_depth": [[1.25]], "depth": _PIXEL}
    ),
    "mask-generation": Answer(
        closed(
            {
                "rle_mask": listed(ref("RunLengths")),
                "bounding_boxes": listed(listed(NUMBER, minItems=4, maxItems=4)),
            },
            masks=listed(PNG),
            scores=listed(NUMBER),
        ),
        {"masks": [_PIXEL], "scores": [0.97]},
    ),
    "keypoint-matching": Answer(
        listed(closed(keypoint_image_0=ref("Point"), keypoint_image_1=ref("Point"), score=NUMBER)),
        [{"keypoint_image_0": {"x": 10, "y": 12}, "keypoint_image_1": {"x": 14, "y": 12}, "score": 0.8}],
    ),
    "video-classification": _LABELS,
    "document-question-answering": Answer(
        listed(any_of(ref("Span"), closed(answer={"type": ["string", "null"]}))),
        [{"score": 0.9, "answer": "42 EUR", "start": 7, "end": 8}],
    ),
    "image-text-to-text": Answer(_CONVERSED, _CONVERSATION),
    "any-to-any": Answer(_MADE, _CONVERSATION),
    "question-answering": Answer(
        any_of(ref("Span"), listed(ref("Span"))), {"score": 0.9, "start": 21, "end": 25, "answer": "nine"}
    ),
    "summarization": Answer(_generated("summary"), [{"summary_text": "Opens at nine."}]),
    "translation": Answer(_generated("translation"), [{"translation_text": "Die Bibliothek öffnet um neun."}]),
    "text2text-generation": Answer(_generated("generated"), [{"generated_text": "nine"}]),
    "visual-question-answering": Answer(
        listed(any_of(closed(score=PROBABILITY, answer=STRING), closed(answer=STRING))),
        [{"score": 0.9, "answer": "2"}],
    ),
    "image-to-text": Answer(listed(closed(generated_text=STRING)), [{"generated_text": "a cat on a sofa"}]),
    "image-to-image": Answer(any_of(PNG, listed(PNG)), _PIXEL),
    "fake": Answer(closed(echo=ANY, batch_size=POSITION), {"echo": "warm-up", "batch_size": 1}),
}


def answer_schema(task: str) -> Schema:
    """The answer to one input, or to a list of them with an error in the place of an item that failed."""
    one = ANSWERS[task].schema
    if task == "text-classification":  # one text is answered as a list of one
        return listed(any_of(one["items"], ref("ItemError")), minItems=1)
    if task == "feature-extraction":  # one embedding is answered as a list of one
        return any_of(one, listed(any_of(ref("Features"), STRING, ref("ItemError")), minItems=1))
    return any_of(one, listed(any_of(one, ref("ItemError")), minItems=1))
