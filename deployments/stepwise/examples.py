"""Prompts with which a freshly loaded model is tried (`deployments.stepwise.check`)."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from deployments.stepwise.check import TRIAL
from deployments.work import Call

logger = logging.getLogger("pipeline_graph.step_check")

_TEXT = "The library opens at nine."
Read = Callable[[Any, dict[str, Any]], Any]


def texts(read: Read, nested: bool, chats: bool) -> list[Call]:
    """Prompts of text alone, of different lengths.

    Args:
        read: makes a call of an input and its parameters, as the pipeline reads them.
        nested: whether generation settings stand in ``generate_kwargs``.
        chats: whether the model takes text only as messages.
    """
    prompts = [_TEXT, f"{_TEXT} {_TEXT} {_TEXT}", _TEXT[::-1]]
    return [read(_chat([], prompt) if chats else prompt, _parameters(nested)) for prompt in prompts]


def media(read: Read, processor: Any, sampling_rate: int | None) -> list[tuple[str, list[Call]]]:
    """Prompts with each kind of media that ``processor`` reads, two of each in different sizes."""
    found: list[tuple[str, list[Any]]] = []
    noise = np.random.default_rng(0)
    if getattr(processor, "image_processor", None) is not None:
        pixels = [noise.integers(0, 255, (*size, 3), dtype=np.uint8) for size in ((96, 96), (64, 128))]
        found.append(("image", [Image.fromarray(picture) for picture in pixels]))
    if getattr(processor, "feature_extractor", None) is not None:
        rate = sampling_rate or 16000
        found.append(("audio", [noise.normal(0, 0.01, length).astype(np.float32) for length in (rate // 2, rate)]))
    made = []
    for kind, several in found:
        try:
            made.append((kind, [_call(read, processor, kind, one) for one in several]))
        except Exception as error:  # the pipeline reads no such prompts, and so none will be generated step by step
            logger.info("prompts with %s could not be made", kind, exc_info=error)
    return made


def _call(read: Read, processor: Any, kind: str, medium: Any) -> Call:
    if getattr(processor, "chat_template", None) is not None:
        given: Any = _chat([{"type": kind, kind: medium}], _TEXT)
    else:
        given = {"images" if kind == "image" else kind: medium, "text": f"{_mark(processor, kind)}{_TEXT}"}
    call: Call = read(given, _parameters(nested=True))
    return call


def _mark(processor: Any, kind: str) -> str:
    """What stands for a medium in a text, where the model has such a token."""
    return str(getattr(processor, f"{kind}_token", None) or "")


def _chat(parts: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def _parameters(nested: bool) -> dict[str, Any]:
    return {"generate_kwargs": dict(TRIAL)} if nested else dict(TRIAL)
