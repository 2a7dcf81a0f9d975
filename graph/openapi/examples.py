"""A request that each task answers: the task's own example, or one made of its form."""

import base64
import functools
import io
import math
import struct
import wave
from collections.abc import Callable
from typing import Any

from PIL import Image

from deployments.tasks import TaskSpec
from deployments.tasks.compound import Chat, Fields, Pair
from deployments.tasks.forms import Form, Labels, MediaOf

_PARTS = {"question": "What is this?", "candidate_labels": ["a cat"]}
_BOXES = [["Hello", [0, 0, 100, 100]], ["world", [100, 0, 200, 100]]]


def example_request(spec: TaskSpec) -> dict[str, Any] | None:
    """``{"inputs": ..., "parameters": ...}``, or None for films, which are too long to be written down.

    A text with a gap has BERT's mask token in it; other models have their own.
    """
    if spec.name == "fill-mask":
        inputs: Any = "The library [MASK] at nine."
    else:
        inputs = spec.example if spec.example is not None else _made(spec.inputs)
    if inputs is None:
        return None
    parameters = {"parameters": dict(spec.example_parameters)} if spec.example_parameters else {}
    return {"inputs": inputs, **parameters}


def _made(form: Form) -> Any:
    if isinstance(form, MediaOf):
        return _MEDIA[form.kind]()
    if isinstance(form, Pair):
        return [_made(form.form), _made(form.form)]
    if isinstance(form, Chat):
        return [{"role": "user", "content": [{"type": "text", "text": "What is this?"}]}]
    if isinstance(form, Fields):
        made = {name: _PARTS.get(name) or _made(part) for name, part in form.required.items()}
        return {**made, **({"word_boxes": _BOXES} if "word_boxes" in form.optional else {})}
    return ["a cat"] if isinstance(form, Labels) else "Hello."


@functools.cache
def _image() -> str:
    """A small PNG: a ball on grass."""
    image = Image.new("P", (64, 64), 0)
    image.putpalette([60, 140, 60, 220, 60, 40])
    image.paste(1, (20, 20, 44, 44))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, bits=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


@functools.cache
def _sound() -> str:
    """A tenth of a second of a tone of 440 Hz."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        tone = (round(8000 * math.sin(2 * math.pi * 440 * frame / 8000)) for frame in range(800))
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in tone))
    return base64.b64encode(buffer.getvalue()).decode("ascii")


_MEDIA: dict[str, Callable[[], str | None]] = {"image": _image, "audio": _sound, "video": lambda: None}
