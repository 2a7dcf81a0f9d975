"""Captions: ``image-to-text``.

Behaviour of transformers 4.57, ``transformers/pipelines/image_to_text.py``.
"""

from typing import Any

import torch
from transformers import GenerationConfig
from transformers.image_utils import load_image
from transformers.pipelines.base import Pipeline

from deployments.legacy.generation import assistant, generate_arguments, honour_task_settings


class ImageToTextPipeline(Pipeline):
    """``pipe(image)`` → ``[{"generated_text": str}]``; a list of images gives a list of those.

    Call parameters: ``max_new_tokens`` (tokens, default 256), ``generate_kwargs`` (generation settings), ``prompt``
    (text that the caption continues; not for encoder-decoder models), ``timeout`` (seconds, for images by URL).
    """

    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = True
    _pipeline_calls_generate = True
    _default_generation_config = GenerationConfig(max_new_tokens=256)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        honour_task_settings(self)

    def _sanitize_parameters(
        self,
        max_new_tokens: int | None = None,
        generate_kwargs: dict[str, Any] | None = None,
        prompt: str | None = None,
        timeout: float | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        forward = dict(generate_kwargs or {})
        if max_new_tokens is not None:
            if "max_new_tokens" in forward:
                raise ValueError("`max_new_tokens` is given both as an argument and inside `generate_kwargs`")
            forward["max_new_tokens"] = max_new_tokens
        forward |= assistant(self)
        given = {"prompt": prompt, "timeout": timeout}
        return {name: value for name, value in given.items() if value is not None}, forward, {}

    def __call__(self, inputs: Any = None, **kwargs: Any) -> Any:
        """Caption one image or a list of images."""
        inputs = kwargs.pop("images", inputs)
        if inputs is None:
            raise ValueError("Cannot call the image-to-text pipeline without an inputs argument!")
        if isinstance(inputs, list) and not inputs:
            return []
        return super().__call__(inputs, **kwargs)

    def preprocess(self, image: Any, prompt: str | None = None, timeout: float | None = None) -> Any:
        """Prepare the image, and the prompt in the way of the model's family."""
        image = load_image(image, timeout=timeout)
        kind = self.model.config.model_type
        if prompt is not None and not isinstance(prompt, str):
            raise ValueError(f"`prompt` must be a string, not {type(prompt).__name__}")
        if prompt is not None and kind == "vision-encoder-decoder":
            raise ValueError(f"Model type {kind} does not support conditional text generation")
        header = {"header_text": prompt} if prompt is not None and kind == "pix2struct" else {}
        encoded = self.image_processor(images=image, return_tensors="pt", **header).to(self.dtype)
        if prompt is not None and kind == "git":
            ids = self.tokenizer(text=prompt, add_special_tokens=False).input_ids
            encoded["input_ids"] = torch.tensor([[self.tokenizer.cls_token_id, *ids]])
        elif prompt is not None and kind != "pix2struct":
            encoded.update(self.tokenizer(prompt, return_tensors="pt"))
        return encoded

    def _forward(self, model_inputs: Any, **generate_kwargs: Any) -> Any:
        inputs = model_inputs.pop(self.model.main_input_name, None)  # none: GIT, which wants text, without a prompt
        return self.model.generate(inputs, **model_inputs, **generate_arguments(self, generate_kwargs))

    def postprocess(self, model_outputs: Any) -> list[dict[str, str]]:
        """One record for each generated sequence."""
        return [{"generated_text": self.tokenizer.decode(ids, skip_special_tokens=True)} for ids in model_outputs]
