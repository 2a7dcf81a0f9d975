"""Questions about an image: ``visual-question-answering`` (``vqa``).

Behaviour of transformers 4.57, ``transformers/pipelines/visual_question_answering.py``.
"""

from typing import Any

from PIL import Image
from transformers import GenerationConfig
from transformers.image_utils import load_image
from transformers.pipelines.base import Pipeline

from deployments.legacy.generation import assistant, generate_arguments, honour_task_settings


class VisualQuestionAnsweringPipeline(Pipeline):
    """``pipe(image=..., question=...)`` → ``[{"score", "answer"}]``, likeliest first.

    A model that generates its answers gives ``[{"answer"}]``.

    Also takes ``{"image", "question"}`` and lists of those; one image with many questions, one question about many
    images, or every question about every image.

    Call parameters: ``top_k`` (>=1, default 5, at most the model's labels), ``padding``, ``truncation``, and
    ``timeout`` (seconds, for images by URL).
    """

    _load_processor = False
    _load_image_processor = True
    _load_feature_extractor = False
    _load_tokenizer = True
    _pipeline_calls_generate = True
    _non_generation_params = ("top_k",)
    _default_generation_config = GenerationConfig(max_new_tokens=256)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        honour_task_settings(self)

    def _sanitize_parameters(
        self,
        top_k: int | None = None,
        padding: Any = None,
        truncation: Any = None,
        timeout: float | None = None,
        **_: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        given = {"padding": padding, "truncation": truncation, "timeout": timeout}
        preprocess = {name: value for name, value in given.items() if value is not None}
        return preprocess, assistant(self), {} if top_k is None else {"top_k": top_k}

    def __call__(self, image: Any, question: Any = None, **kwargs: Any) -> Any:
        """Answer one question or many."""
        if question is None:
            return [] if isinstance(image, list) and not image else super().__call__(image, **kwargs)
        if isinstance(image, Image.Image | str) and isinstance(question, str):
            return super().__call__({"image": image, "question": question}, **kwargs)
        images = [image] if isinstance(image, Image.Image | str) else image
        questions = [question] if isinstance(question, str) else question
        pairs = [{"image": one, "question": asked} for asked in questions for one in images]
        return super().__call__(pairs, **kwargs) if pairs else []

    def preprocess(
        self, inputs: dict[str, Any], padding: Any = False, truncation: Any = False, timeout: float | None = None
    ) -> Any:
        """Tokenize the question and prepare the image."""
        image = load_image(inputs["image"], timeout=timeout)
        encoded = self.tokenizer(inputs["question"], return_tensors="pt", padding=padding, truncation=truncation)
        encoded.update(self.image_processor(images=image, return_tensors="pt").to(self.dtype))
        return encoded

    def _forward(self, model_inputs: Any, **generate_kwargs: Any) -> Any:
        if self.model.can_generate():
            return self.model.generate(**model_inputs, **generate_arguments(self, generate_kwargs))
        return self.model(**model_inputs)

    def postprocess(self, model_outputs: Any, top_k: int = 5) -> list[dict[str, Any]]:
        """Scored labels, or generated text."""
        if self.model.can_generate():
            texts = (self.tokenizer.decode(ids, skip_special_tokens=True) for ids in model_outputs)
            return [{"answer": text.strip()} for text in texts]
        config = self.model.config
        scores, labels = model_outputs.logits.sigmoid()[0].topk(min(top_k, config.num_labels))
        pairs = zip(scores.tolist(), labels.tolist(), strict=True)
        return [{"score": score, "answer": config.id2label[label]} for score, label in pairs]
