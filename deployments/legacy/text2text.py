"""Text to text over any sequence-to-sequence model: ``text2text-generation``, ``summarization``, ``translation``.

Behaviour of transformers 4.57, ``transformers/pipelines/text2text_generation.py``: parameters, defaults, prefixes from
the model's ``task_specific_params``, and return shapes. ``tests/legacy`` compares with answers of that release.
Unlike there, a ``max_length`` given without ``max_new_tokens`` counts (4.57 let its default of the latter win), what a
``generation_config`` leaves open has the defaults below, and lists inside a list are refused rather than cut.
"""

import logging
from typing import Any, ClassVar

from transformers import GenerationConfig
from transformers.pipelines.base import Pipeline

logger = logging.getLogger(__name__)


class Text2TextGenerationPipeline(Pipeline):
    """``pipe("text")`` → ``[{"generated_text": str}]``; ``pipe(["a", "b"])`` → ``[{...}, {...}]``.

    With several sequences for each input, the list form gives a list of lists. ``return_tensors=True`` gives
    ``generated_token_ids`` (tensor of shape ``(tokens,)``) instead of the text.

    Call parameters: ``return_tensors``, ``return_text``, ``return_type`` (``"text"`` or ``"tensors"``),
    ``clean_up_tokenization_spaces``, ``truncation``, ``stop_sequence``, and generation settings by name (defaults:
    ``max_new_tokens=256``, ``num_beams=4``, where the model does not set them).
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True
    _pipeline_calls_generate = True
    _default_generation_config = GenerationConfig(max_new_tokens=256, num_beams=4)
    return_name: ClassVar[str] = "generated"
    task: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        every_task = getattr(self.model.config, "task_specific_params", None) or {}
        if self.task == "translation":
            self.task = next((task for task in every_task if task.startswith("translation")), self.task)
            if self.task != "translation":
                logger.warning("the task translation names no languages, %s is used", self.task)
        settings = dict(every_task.get(self.task) or {})
        own_prefix: str | None = getattr(self.model.config, "prefix", None)
        self.prefix = settings.pop("prefix", own_prefix) or ""
        self._generate_kwargs.update(settings)

    def _sanitize_parameters(
        self,
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        return_type: str | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        truncation: Any = None,
        stop_sequence: str | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess = {} if truncation is None else {"truncation": truncation}
        postprocess: dict[str, Any] = {}
        if return_type is None and return_tensors is not None:
            return_type = "tensors" if return_tensors else "text"
        if return_type is not None:
            if return_type not in ("text", "tensors"):
                raise ValueError(f"`return_type` must be 'text' or 'tensors', not {return_type!r}")
            postprocess["return_type"] = return_type
        postprocess["clean_up_tokenization_spaces"] = bool(clean_up_tokenization_spaces)
        if stop_sequence is not None:
            tokens = self.tokenizer.encode(stop_sequence, add_special_tokens=False)
            if len(tokens) > 1:
                logger.warning("stop_sequence=%r has %d tokens, the first of them stops", stop_sequence, len(tokens))
            generate_kwargs["eos_token_id"] = tokens[0]
        if self.assistant_model is not None:
            generate_kwargs["assistant_model"] = self.assistant_model
        if self.assistant_tokenizer is not None:
            generate_kwargs |= {"tokenizer": self.tokenizer, "assistant_tokenizer": self.assistant_tokenizer}
        return preprocess, generate_kwargs, postprocess

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one text or a list of texts."""
        if args and args[0] == []:
            return []
        result = super().__call__(*args, **kwargs)
        texts = args[0] if args else None
        many = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
        if many and all(len(answers) == 1 for answers in result):
            return [answers[0] for answers in result]
        return result

    def preprocess(self, inputs: Any, truncation: Any = False) -> Any:
        """Tokenize one text, after the model's prefix for this task."""
        if not isinstance(inputs, str):
            raise TypeError(f"expected a string, not {type(inputs).__name__}")
        encoded = self.tokenizer(self.prefix + inputs, truncation=truncation, return_tensors="pt")
        encoded.pop("token_type_ids", None)  # tokenizers make it, and generate() refuses it
        return encoded

    def _forward(self, model_inputs: Any, **generate_kwargs: Any) -> dict[str, Any]:
        count, length = model_inputs["input_ids"].shape
        settings = self._prepare_generate_kwargs(generate_kwargs)
        self.check_inputs(length, settings)
        output_ids = self.model.generate(**model_inputs, **settings)
        return {"output_ids": output_ids.reshape(count, output_ids.shape[0] // count, *output_ids.shape[1:])}

    def check_inputs(self, input_length: int, settings: dict[str, Any]) -> None:
        """Warn about lengths (tokens) that hardly suit the task."""

    def postprocess(
        self, model_outputs: Any, return_type: str = "text", clean_up_tokenization_spaces: bool = False
    ) -> list[dict[str, Any]]:
        """One record for each generated sequence of one input."""
        sequences = model_outputs["output_ids"][0]
        if return_type == "tensors":
            return [{f"{self.return_name}_token_ids": ids} for ids in sequences]
        decode = {"skip_special_tokens": True, "clean_up_tokenization_spaces": clean_up_tokenization_spaces}
        return [{f"{self.return_name}_text": self.tokenizer.decode(ids, **decode)} for ids in sequences]

    def _max_length(self, settings: dict[str, Any]) -> int | None:
        return settings.get("max_length") or getattr(self.model.generation_config, "max_length", None)


class SummarizationPipeline(Text2TextGenerationPipeline):
    """As `Text2TextGenerationPipeline`, with ``summary_text``."""

    return_name = "summary"

    def check_inputs(self, input_length: int, settings: dict[str, Any]) -> None:
        """Warn when the summary may become longer than the text."""
        most, least = self._max_length(settings), settings.get("min_length") or 0
        if most is not None and most < least:
            logger.warning("min_length=%d is above max_length=%d", least, most)
        if most is not None and input_length < most:
            logger.warning("max_length=%d is above the %d tokens of the text to summarize", most, input_length)


class TranslationPipeline(Text2TextGenerationPipeline):
    """As `Text2TextGenerationPipeline`, with ``translation_text``.

    ``src_lang`` and ``tgt_lang`` choose the languages of a multilingual model; by default they are those in the name
    of the task (``translation_en_to_fr``).
    """

    return_name = "translation"

    def _sanitize_parameters(  # type: ignore[override]  # the rest goes to the base class as it is
        self, src_lang: str | None = None, tgt_lang: str | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess, forward, postprocess = super()._sanitize_parameters(**kwargs)
        languages = {"src_lang": src_lang, "tgt_lang": tgt_lang}
        preprocess |= {key: value for key, value in languages.items() if value is not None}
        return preprocess, forward, postprocess

    def preprocess(
        self, inputs: Any, truncation: Any = False, src_lang: str | None = None, tgt_lang: str | None = None
    ) -> Any:
        """Tokenize one text; multilingual tokenizers (mBART, NLLB, M2M100) are told the languages."""
        build = getattr(self.tokenizer, "_build_translation_inputs", None)
        if build is None:
            return super().preprocess(inputs, truncation)
        named = self.task.split("_")
        if src_lang is None and tgt_lang is None and len(named) == 4:
            src_lang, tgt_lang = named[1], named[3]
        return build(inputs, return_tensors="pt", truncation=truncation, src_lang=src_lang, tgt_lang=tgt_lang)

    def check_inputs(self, input_length: int, settings: dict[str, Any]) -> None:
        """Warn when the translation may be cut."""
        most = self._max_length(settings)
        if most is not None and input_length > 0.9 * most:
            logger.warning("max_length=%d is little for a text of %d tokens", most, input_length)
