"""The task of a model, and the model of a task, when the configuration names only one of them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import OfflineModeIsEnabled
from transformers.pipelines import SUPPORTED_TASKS

from deployments.infer_task import (
    AmbiguousTaskError,
    TaskInferenceError,
    default_model,
    infer_task,
    task_of_config,
)
from deployments.legacy import LEGACY_TASKS
from deployments.model_ref import ModelRef, parse_model_ref

# what the hub says of well-known models of these classes
ARCHITECTURES = [
    ("BertForSequenceClassification", "text-classification"),
    ("DistilBertForSequenceClassification", "text-classification"),
    ("BertForTokenClassification", "token-classification"),
    ("RobertaForMaskedLM", "fill-mask"),
    ("LlamaForCausalLM", "text-generation"),
    ("Qwen2ForCausalLM", "text-generation"),
    ("GPT2LMHeadModel", "text-generation"),
    ("BertForQuestionAnswering", "question-answering"),
    ("TapasForQuestionAnswering", "table-question-answering"),
    ("LayoutLMForQuestionAnswering", "document-question-answering"),
    ("ViltForQuestionAnswering", "visual-question-answering"),
    ("MarianMTModel", "translation"),
    ("PegasusForConditionalGeneration", "summarization"),
    ("WhisperForConditionalGeneration", "automatic-speech-recognition"),
    ("Wav2Vec2ForCTC", "automatic-speech-recognition"),
    ("Wav2Vec2ForSequenceClassification", "audio-classification"),
    ("ClapModel", "zero-shot-audio-classification"),
    ("VitsModel", "text-to-audio"),
    ("SpeechT5ForTextToSpeech", "text-to-audio"),
    ("ViTForImageClassification", "image-classification"),
    ("SegformerForSemanticSegmentation", "image-segmentation"),
    ("MaskFormerForInstanceSegmentation", "image-segmentation"),
    ("Mask2FormerForUniversalSegmentation", "image-segmentation"),
    ("DetrForObjectDetection", "object-detection"),
    ("OwlViTForObjectDetection", "zero-shot-object-detection"),
    ("CLIPModel", "zero-shot-image-classification"),
    ("DPTForDepthEstimation", "depth-estimation"),
    ("VideoMAEForVideoClassification", "video-classification"),
    ("SamModel", "mask-generation"),
    ("SuperGlueForKeypointMatching", "keypoint-matching"),
    ("Idefics3ForConditionalGeneration", "image-text-to-text"),
    ("Qwen2_5_VLForConditionalGeneration", "image-text-to-text"),
    ("Qwen2AudioForConditionalGeneration", "any-to-any"),
    ("VisionEncoderDecoderModel", "image-to-text"),
    ("BlipForConditionalGeneration", "image-to-text"),
    ("Swin2SRForImageSuperResolution", "image-to-image"),
]


@pytest.mark.parametrize(("architecture", "task"), ARCHITECTURES)
def test_the_architecture_tells_the_task(architecture: str, task: str) -> None:
    assert task_of_config({"architectures": [architecture]}, "m") == task


def test_a_model_without_a_head_gives_the_features_of_what_it_reads() -> None:
    assert task_of_config({"architectures": ["BertModel"], "vocab_size": 9}, "m") == "feature-extraction"
    assert task_of_config({"architectures": ["ViTModel"], "image_size": 9}, "m") == "image-feature-extraction"


@pytest.mark.parametrize(
    ("config", "candidates"),
    [
        ({"architectures": ["T5ForConditionalGeneration"]}, ["summarization", "text2text-generation", "translation"]),
        (
            {"architectures": ["BartForSequenceClassification"], "label2id": {"entailment": 0, "neutral": 1}},
            ["text-classification", "zero-shot-classification"],
        ),
    ],
)
def test_several_tasks_are_named_rather_than_guessed(config: dict[str, Any], candidates: list[str]) -> None:
    with pytest.raises(AmbiguousTaskError) as caught:
        task_of_config(config, "m")
    assert all(task in str(caught.value) for task in candidates)


@pytest.mark.parametrize("config", [{}, {"architectures": []}, {"architectures": ["BertForNextSentencePrediction"]}])
def test_no_task_is_said(config: dict[str, Any]) -> None:
    with pytest.raises(TaskInferenceError):
        task_of_config(config, "m")


def test_local_models_gguf_files_and_sentence_transformers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["RobertaForMaskedLM"]}))
    assert infer_task(parse_model_ref(str(tmp_path))) == "fill-mask"
    (tmp_path / "modules.json").write_text("[]")
    assert infer_task(parse_model_ref(str(tmp_path))) == "feature-extraction"
    assert infer_task(ModelRef("x.gguf", "x", gguf_file="x.gguf")) == "text-generation"


@pytest.mark.parametrize(
    ("tag", "library", "task"),
    [
        ("fill-mask", "transformers", "fill-mask"),
        ("summarization", None, "summarization"),
        ("sentence-similarity", "sentence-transformers", "feature-extraction"),
        ("text-to-speech", "transformers", "text-to-audio"),
    ],
)
def test_the_hub_tells_the_task(tag: str, library: str | None, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    info = SimpleNamespace(pipeline_tag=tag, library_name=library)
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *_, **__: info)
    assert infer_task(parse_model_ref("owner/name")) == task


@pytest.mark.parametrize(("tag", "library"), [(None, "transformers"), ("text-to-video", None), ("fill-mask", "spacy")])
def test_what_the_hub_says_of_others_is_refused(
    tag: str | None, library: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = SimpleNamespace(pipeline_tag=tag, library_name=library)
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *_, **__: info)
    with pytest.raises(TaskInferenceError, match="owner/name"):
        infer_task(parse_model_ref("owner/name"))


def test_without_the_hub_the_cached_config_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OfflineModeIsEnabled("offline")

    config = tmp_path / "config.json"
    config.write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    monkeypatch.setattr(huggingface_hub, "model_info", offline)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(config))
    assert infer_task(parse_model_ref("owner/name")) == "text-generation"
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    with pytest.raises(TaskInferenceError, match="cache"):
        infer_task(parse_model_ref("owner/name"))


@pytest.mark.parametrize("task", sorted(SUPPORTED_TASKS))
def test_every_task_has_upstreams_default_model(task: str) -> None:
    name, revision = default_model(task)
    assert name in str(SUPPORTED_TASKS[task]["default"])
    assert revision in str(SUPPORTED_TASKS[task]["default"])


@pytest.mark.parametrize("task", sorted(LEGACY_TASKS))
def test_every_removed_task_has_a_default_model(task: str) -> None:
    assert default_model(task, {name: row.default for name, row in LEGACY_TASKS.items()}) == LEGACY_TASKS[task].default
