"""Pipeline answer → HTTP response body, in the media type that `graph.accept` found.

JSON is the Hugging Face wire format of the task, as ``huggingface_hub.InferenceClient`` reads it;
``application/vnd.pipeline+json`` the pipeline's own answer, types kept (``deployments/codec.py``); and one answer that
is or has an image or a sound can be that file.
"""

import base64
import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from starlette.concurrency import run_in_threadpool

from deployments.codec import MEDIA_TYPE, to_json
from deployments.errors import PipelineGraphError
from deployments.payload import Tensor
from deployments.tasks import TaskSpec
from graph.accept import JSON
from graph.pictures import image_bytes, label_map, png_bytes
from graph.sound import sound_bytes, wav_bytes
from graph.status import status_of

_LONG_HEADER = 4096  # bytes; proxies take 8 to 16 KB of all headers together


def join(spec: TaskSpec, outputs: list[Any], parameters: dict[str, Any]) -> Any:
    """Answers of single inputs → what the pipeline returns for the list of them; a failed one tells its error."""
    listed = [
        item_error(output) if isinstance(output, PipelineGraphError) else element(spec, output, parameters)
        for output in outputs
    ]
    return listed[0] if spec.list_of_one_unwraps and len(listed) == 1 else listed


def element(spec: TaskSpec, output: Any, parameters: dict[str, Any]) -> Any:
    """The answer to a single input → what stands for it among the answers to a list or a dataset."""
    unwraps = spec.single_is_listed and spec.listed_with not in parameters
    return output[0] if unwraps and isinstance(output, list) and len(output) == 1 else output


class Answer(NamedTuple):
    """What is sent back."""

    body: bytes
    media_type: str
    headers: dict[str, str]


def encode(spec: TaskSpec, outputs: list[Any], many: bool, parameters: dict[str, Any], media_type: str) -> Answer:
    """The answer to a request with these outputs, an error in the place of a failed item.

    Args:
        spec: the task.
        outputs: of each item.
        many: whether the caller sent a list.
        parameters: of the call, the configured ones included.
        media_type: one of ``graph.accept.answer_types(spec, many)``.
    """
    if media_type == MEDIA_TYPE:
        return Answer(_dumps(to_json(join(spec, outputs, parameters) if many else outputs[0])), MEDIA_TYPE, {})
    if media_type != JSON:
        return _file(spec, outputs[0], media_type)
    wire = _WIRE[spec.reply]
    answers = [
        item_error(output) if isinstance(output, PipelineGraphError) else plain(wire(output)) for output in outputs
    ]
    # [[{label, score}, ...]] for one text as for many, and so the rows of embeddings
    listed = many or spec.reply == "nested" or (spec.reply == "features" and _is_vector(outputs[0]))
    return Answer(_dumps(answers if listed else answers[0]), JSON, {})


async def encode_beside(
    spec: TaskSpec, outputs: list[Any], many: bool, parameters: dict[str, Any], media_type: str
) -> Answer:
    """`encode`, files on a thread: their encoders take long, and leave Python's lock meanwhile."""
    if media_type in (JSON, MEDIA_TYPE):
        return encode(spec, outputs, many, parameters, media_type)
    return await run_in_threadpool(encode, spec, outputs, many, parameters, media_type)


def _is_vector(output: Any) -> bool:
    """Whether features are an embedding rather than those of tokens: numbers, or base64."""
    if isinstance(output, Tensor):
        return output.array.ndim == 1
    return isinstance(output, str) or (isinstance(output, list) and not isinstance(output[0], list))


def item_error(error: PipelineGraphError) -> dict[str, Any]:
    """The error body of one item of a list; the request's id is in the header."""
    _, word = status_of(error)
    field = getattr(error, "field", None)
    return {"error": str(error), "error_type": word, **({} if field is None else {"field": field})}


def _file(spec: TaskSpec, output: Any, media_type: str) -> Answer:
    """One answer as a file."""
    if spec.reply == "audio":
        body = sound_bytes(np.asarray(output["audio"]), int(output["sampling_rate"]), media_type)
    elif spec.reply in ("segments", "masks"):
        return _segments(output)
    else:
        body = image_bytes(output["depth"] if spec.reply == "depth" else output, media_type)
    return Answer(body, media_type, {})


def _segments(output: Any) -> Answer:
    """All masks as one label map, its legend in ``x-segments`` too where a header may be so long."""
    if isinstance(output, dict):
        masks, legend = output["masks"], [{"score": score} for score in plain(output["scores"])]
    else:
        masks = [segment["mask"] for segment in output]
        legend = [{name: plain(value) for name, value in segment.items() if name != "mask"} for segment in output]
    header = json.dumps(legend, separators=(",", ":"))
    return Answer(label_map(masks, legend), "image/png", {"x-segments": header} if len(header) <= _LONG_HEADER else {})


def plain(value: Any) -> Any:
    """``value`` in ordinary JSON: images as base64 PNG, arrays as nested lists, tuples as lists, NaN as null."""
    if isinstance(value, Image.Image):
        return base64.b64encode(png_bytes(value)).decode("ascii")
    if isinstance(value, Tensor):
        return plain(value.array)
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return plain(value.tolist())
        return value.tolist()
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _dumps(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # a generated text may end in half of a character
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _zero_shot(output: Any) -> Any:
    """``{"labels": [...], "scores": [...]}`` → ``[{"label": ..., "score": ...}]``."""
    pairs = zip(output["labels"], output["scores"], strict=True)
    return [{"label": label, "score": score} for label, score in pairs]


def _masks(output: Any) -> Any:
    """Boolean masks as PNG images instead of nested lists."""
    masks = [Image.fromarray(np.asarray(getattr(mask, "array", mask)).astype(bool)) for mask in output["masks"]]
    return {**output, "masks": masks}


def _audio(output: Any) -> Any:
    """Sound in JSON: the WAV file as base64."""
    rate = int(output["sampling_rate"])
    file = wav_bytes(np.asarray(output["audio"]), rate)
    return {"audio": base64.b64encode(file).decode("ascii"), "content-type": "audio/wav", "sampling_rate": rate}


def _nested(output: Any) -> Any:
    return output if isinstance(output, list) else [output]


_WIRE: dict[str, Callable[[Any], Any]] = {
    "as_is": lambda output: output,
    "nested": _nested,
    "listed": _nested,
    "features": lambda output: output,
    "zero_shot": _zero_shot,
    "audio": _audio,
    "image": lambda output: output,
    "masks": _masks,
    "segments": lambda output: output,
    "depth": lambda output: output,
}
