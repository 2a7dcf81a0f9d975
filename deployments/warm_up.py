"""A first input for a freshly loaded model, so that no caller pays for lazy initialisation."""

import logging
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import numpy as np
from PIL import Image

from deployments.batch_check import choose_mode
from deployments.errors import MissingDependencyError, ModelLoadError, RequestError
from deployments.load_errors import placed_otherwise
from deployments.payload import Media
from deployments.progress import report
from deployments.run import PipelineRunner, failed
from deployments.stepwise import examples
from deployments.stepwise.check import check_steps
from deployments.tasks.compound import Chat, Fields, Pair
from deployments.tasks.forms import Form, MediaOf

logger = logging.getLogger("ray.serve")


def warm_up(runner: PipelineRunner, defaults: dict[str, Any]) -> None:
    """Run the task's example, and find out how its inputs may share a batch.

    Args:
        runner: a loaded pipeline whose threads do not run yet.
        defaults: the configured call parameters.

    Raises:
        ModelLoadError: the model cannot answer the example.
    """
    decoder, spec, name = runner.decoder(), runner.spec, runner.config.name
    report(str(name), "check")
    required = {name: value for name, value in defaults.items() if name in spec.required}
    parameters = {**spec.example_parameters, **required}
    try:
        inputs = decoder.decode(warm_up_input(runner))
        outcome = runner.run(inputs, parameters, "warm-up")
        if isinstance(outcome, RequestError | MissingDependencyError):
            # the example does not suit this very model; callers may still send what does
            logger.warning("%s does not take the warm-up example: %s", name, outcome)
        elif failed(outcome):
            otherwise = placed_otherwise(runner.config)
            raise ModelLoadError(f"{name}: the model failed on the warm-up example; see the log above{otherwise}.")
        choose_mode(runner, inputs, parameters)
        _check_steps(runner)
    finally:
        decoder.close()


def _check_steps(runner: PipelineRunner) -> None:
    """Find out whether the model can generate step by step, and with which media in its prompts."""
    preparer = runner.preparer
    if preparer.steps is None:
        return
    processor = getattr(runner.pipe, "processor", None) if runner.spec.generation_dicts else None
    chats = getattr(processor, "chat_template", None) is not None
    texts = examples.texts(preparer.read, processor is not None, chats)
    media = [] if processor is None else examples.media(preparer.read, processor, runner.sampling_rate)
    check_steps(runner.pipe, preparer.steps, texts, media)
    runner.keep_steps()


def warm_up_input(runner: PipelineRunner) -> Any:
    """The task's example, made where it cannot be written down; in the pipeline's call form, media still encoded."""
    spec = runner.spec
    if spec.name == "fill-mask":
        return f"The library {runner.pipe.tokenizer.mask_token} at nine."
    if spec.name == "sentence-similarity":  # several texts, and it is single ones whose batches are to be checked
        return spec.example["source_sentence"]
    return spec.example if spec.example is not None else _made(spec.inputs, runner)


def _made(form: Form, runner: PipelineRunner) -> Any:
    if isinstance(form, MediaOf):
        return {"image": _image, "audio": _audio, "video": _video}[form.kind](runner)
    if isinstance(form, Pair):
        return [_made(form.form, runner), _made(form.form, runner)]
    if isinstance(form, Chat):
        return [{"role": "user", "content": [{"type": "text", "text": "What is this?"}]}]
    if isinstance(form, Fields):
        made = {"image": _image(runner), "question": "What is this?", "candidate_labels": ["a cat"]}
        if "word_boxes" in form.optional:
            made["word_boxes"] = [["Hello", [0, 0, 100, 100]], ["world", [100, 0, 200, 100]]]
        return {name: made[name] for name in form.names}
    return "Hello."


def _image(_: PipelineRunner) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _audio(runner: PipelineRunner) -> Any:
    samples = runner.sampling_rate or 16000
    return np.random.default_rng(0).normal(0, 0.01, samples).astype(np.float32)


def _video(_: PipelineRunner) -> Media:
    """A film of 32 frames, so that models that sample 16 frames have enough."""
    buffer, noise = BytesIO(), np.random.default_rng(0)
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _index in range(32):
            pixels = noise.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return Media(buffer.getvalue(), "video")
