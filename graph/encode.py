"""Pipeline answer → HTTP response body.

By default the Hugging Face wire format of the task, as ``huggingface_hub.InferenceClient`` reads it; with
``Accept: application/vnd.pipeline+json`` the pipeline's own answer, types kept (``deployments/codec.py``).
"""

import base64
import io
import json
import math
import wave
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from deployments.codec import MEDIA_TYPE, to_json
from deployments.errors import PipelineGraphError
from deployments.payload import Tensor
from deployments.tasks import TaskSpec
from graph.status import status_of


def join(spec: TaskSpec, outputs: list[Any], parameters: dict[str, Any]) -> Any:
    """Answers of single inputs → what the pipeline returns for the list of them."""
    if any(isinstance(output, PipelineGraphError) for output in outputs):
        good = join(spec, [output for output in outputs if not isinstance(output, PipelineGraphError)], parameters)
        answers = iter(good if isinstance(good, list) else [good])
        return [item_error(output) if isinstance(output, PipelineGraphError) else next(answers) for output in outputs]
    unwraps = spec.single_is_listed and spec.listed_with not in parameters
    if unwraps and all(len(output) == 1 for output in outputs):
        return [output[0] if isinstance(output, list) else output for output in outputs]
    if spec.list_of_one_unwraps and len(outputs) == 1:
        return outputs[0]
    return outputs


def encode(
    spec: TaskSpec, outputs: list[Any], many: bool, parameters: dict[str, Any], accept: str
) -> tuple[bytes, str]:
    """Body and content type of the answer to a request with these outputs, an error in the place of a failed item."""
    if MEDIA_TYPE in accept:
        raw = join(spec, outputs, parameters) if many else outputs[0]
        return _dumps(to_json(raw)), MEDIA_TYPE
    wire = _WIRE[spec.reply]
    if not many and "application/json" not in accept:
        binary = _binary(spec, outputs[0])
        if binary is not None:
            return binary
    answers = [
        item_error(output) if isinstance(output, PipelineGraphError) else plain(wire(output)) for output in outputs
    ]
    if spec.reply == "nested":  # [[{label, score}, ...]] for one text as for many
        return _dumps(answers), "application/json"
    return _dumps(answers if many else answers[0]), "application/json"


def item_error(error: PipelineGraphError) -> dict[str, Any]:
    """The error body of one item of a list; the request's id is in the header."""
    _, word = status_of(error)
    field = getattr(error, "field", None)
    return {"error": str(error), "error_type": word, **({} if field is None else {"field": field})}


def _binary(spec: TaskSpec, output: Any) -> tuple[bytes, str] | None:
    """Sound and images as files, for the tasks whose answer is nothing else."""
    if spec.reply == "audio":
        return wav_bytes(np.asarray(output["audio"]), int(output["sampling_rate"])), "audio/wav"
    if spec.reply == "image" and isinstance(output, Image.Image):
        return png_bytes(output), "image/png"
    return None


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


def png_bytes(image: Image.Image) -> bytes:
    """``image`` as a PNG file; 32 bit modes become 16 bit grey, and other modes that PNG lacks RGB."""
    if image.mode in ("I", "F"):
        image = Image.fromarray(np.clip(np.asarray(image), 0, 65535).astype(np.uint16))
    elif image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def wav_bytes(samples: npt.NDArray[Any], rate: int) -> bytes:
    """16 bit PCM WAV of ``samples`` in [-1, 1], shape ``(samples,)`` or ``(channels, samples)``, at ``rate`` (Hz)."""
    frames = samples.astype(np.float32)
    channels = 1 if frames.ndim == 1 else frames.shape[0]
    whole = np.clip(np.round(frames.T * 32767), -32768, 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())
    return buffer.getvalue()


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
    "zero_shot": _zero_shot,
    "audio": _audio,
    "image": lambda output: output,
    "masks": _masks,
}
