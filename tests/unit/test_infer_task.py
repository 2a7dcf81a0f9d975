"""The task of a model, and the model of a task, when the configuration names only one of them."""

import json
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
from transformers.models.auto import modeling_auto
from transformers.pipelines import SUPPORTED_TASKS

from deployments.infer_task import (
    AmbiguousTaskError,
    TaskInferenceError,
    UnknownTaskError,
    default_model,
    infer_task,
    task_of_config,
)
from deployments.legacy import LEGACY_TASKS
from deployments.model_ref import ModelRef, ModelReferenceError, parse_model_ref
from deployments.tasks import TASKS

ROOT = Path(__file__).parents[2]
# what the hub says of well-known models of these classes
ARCHITECTURES = [
    ("BertForSequenceClassification", "text-classification"),
    ("DistilBertForSequenceClassification", "text-classification"),
    ("LlamaForSequenceClassification", "text-classification"),
    ("BertForTokenClassification", "token-classification"),
    ("RobertaForMaskedLM", "fill-mask"),
    ("BertForPreTraining", "fill-mask"),
    ("FlaubertWithLMHeadModel", "fill-mask"),
    ("XLMWithLMHeadModel", "fill-mask"),
    ("LlamaForCausalLM", "text-generation"),
    ("Qwen2ForCausalLM", "text-generation"),
    ("Gemma3ForCausalLM", "text-generation"),
    ("GPT2LMHeadModel", "text-generation"),
    ("BertLMHeadModel", "text-generation"),
    ("PegasusForCausalLM", "text-generation"),
    ("BertForQuestionAnswering", "question-answering"),
    ("TapasForQuestionAnswering", "table-question-answering"),
    ("LayoutLMForQuestionAnswering", "document-question-answering"),
    ("LayoutLMv2ForQuestionAnswering", "document-question-answering"),
    ("LayoutLMv3ForQuestionAnswering", "document-question-answering"),
    ("ViltForQuestionAnswering", "visual-question-answering"),
    ("BlipForQuestionAnswering", "visual-question-answering"),
    ("MarianMTModel", "translation"),
    ("FSMTForConditionalGeneration", "translation"),
    ("M2M100ForConditionalGeneration", "translation"),
    ("SeamlessM4Tv2ForTextToText", "translation"),
    ("PegasusForConditionalGeneration", "summarization"),
    ("WhisperForConditionalGeneration", "automatic-speech-recognition"),
    ("Wav2Vec2ForCTC", "automatic-speech-recognition"),
    ("ParakeetForTDT", "automatic-speech-recognition"),
    ("Wav2Vec2ForSequenceClassification", "audio-classification"),
    ("ASTForAudioClassification", "audio-classification"),
    ("ClapModel", "zero-shot-audio-classification"),
    ("VitsModel", "text-to-audio"),
    ("BarkModel", "text-to-audio"),
    ("SpeechT5ForTextToSpeech", "text-to-audio"),
    ("SeamlessM4TForTextToSpeech", "text-to-audio"),
    ("VibeVoiceForConditionalGeneration", "text-to-audio"),
    ("MusicgenForConditionalGeneration", "text-to-audio"),
    ("ViTForImageClassification", "image-classification"),
    ("DeiTForImageClassificationWithTeacher", "image-classification"),
    ("SegformerForSemanticSegmentation", "image-segmentation"),
    ("MaskFormerForInstanceSegmentation", "image-segmentation"),
    ("Mask2FormerForUniversalSegmentation", "image-segmentation"),
    ("DetrForSegmentation", "image-segmentation"),
    ("DetrForObjectDetection", "object-detection"),
    ("OwlViTForObjectDetection", "zero-shot-object-detection"),
    ("GroundingDinoForObjectDetection", "zero-shot-object-detection"),
    ("CLIPModel", "zero-shot-image-classification"),
    ("SiglipModel", "zero-shot-image-classification"),
    ("DPTForDepthEstimation", "depth-estimation"),
    ("VideoMAEForVideoClassification", "video-classification"),
    ("SamModel", "mask-generation"),
    ("SuperGlueForKeypointMatching", "keypoint-matching"),
    ("JevForDecision", "decision"),
    ("Idefics3ForConditionalGeneration", "image-text-to-text"),
    ("Qwen2_5_VLForConditionalGeneration", "image-text-to-text"),
    ("Gemma3ForConditionalGeneration", "image-text-to-text"),
    ("Gemma3nForConditionalGeneration", "image-text-to-text"),
    ("Blip2ForConditionalGeneration", "image-text-to-text"),
    ("FuyuForCausalLM", "image-text-to-text"),
    ("Qwen2AudioForConditionalGeneration", "any-to-any"),
    ("Qwen2_5OmniForConditionalGeneration", "any-to-any"),
    ("VoxtralForConditionalGeneration", "any-to-any"),
    ("Phi4MultimodalForCausalLM", "any-to-any"),
    ("VisionEncoderDecoderModel", "image-to-text"),
    ("BlipForConditionalGeneration", "image-to-text"),
    ("GitForCausalLM", "image-to-text"),
    ("Pix2StructForConditionalGeneration", "image-to-text"),
    ("Swin2SRForImageSuperResolution", "image-to-image"),
    ("BertModel", "feature-extraction"),
    ("Qwen3Model", "feature-extraction"),
    ("ViTModel", "image-feature-extraction"),
    ("Dinov2Model", "image-feature-extraction"),
    ("ImageGPTModel", "image-feature-extraction"),
]
SEQ2SEQ = ("summarization", "text2text-generation", "translation")
FEATURES = ("feature-extraction", "image-feature-extraction")
NLI = {"architectures": ["BartForSequenceClassification"], "label2id": {"contradiction": 0, "entailment": 2}}


def _model(folder: Path, config: dict[str, Any], *others: str) -> ModelRef:
    (folder / "config.json").write_text(json.dumps(config))
    for name in others:
        (folder / name).write_text("[]")
    return parse_model_ref(str(folder))


@pytest.mark.parametrize(("architecture", "task"), ARCHITECTURES)
def test_the_architecture_tells_the_task(architecture: str, task: str, tmp_path: Path) -> None:
    assert infer_task(_model(tmp_path, {"architectures": [architecture]})) == task


def test_every_task_is_told_by_some_architecture() -> None:
    never_alone = {"zero-shot-classification", "text2text-generation"}  # always one of several: see below
    never_alone |= {"sentence-similarity"}  # every model of feature-extraction serves it
    assert {task for _, task in ARCHITECTURES} == {*TASKS} - {"fake"} - never_alone


@pytest.mark.parametrize(
    ("config", "task"),
    [
        (
            {"architectures": ["SomeTextModel"], "auto_map": {"AutoModel": "m.SomeTextModel"}, "vocab_size": 9},
            FEATURES[0],
        ),
        ({"architectures": ["CLIPTextModel"], "vocab_size": 9}, FEATURES[0]),
        ({"architectures": ["CLIPVisionModel"], "image_size": 9}, FEATURES[1]),
        ({"architectures": ["XLMWithLMHeadModel"], "causal": True}, "text-generation"),
        ({"architecture": "resnet18", "pretrained_cfg": {}, "num_classes": 9}, "image-classification"),
        ({"architecture": "resnet18", "pretrained_cfg": {}, "num_classes": 0}, FEATURES[1]),
        # bart-large-cnn: trained for one task, and says so
        (
            {"architectures": ["BartForConditionalGeneration"], "task_specific_params": {"summarization": {}}},
            "summarization",
        ),
        # what is said of another class of the same model does not count
        ({"architectures": ["BartModel"], "task_specific_params": {"summarization": {}}}, FEATURES[0]),
        ({"architectures": ["BertForSequenceClassification"], "label2id": {"NEG": 0, "POS": 1}}, "text-classification"),
        # code of the repository: the Auto class of that very class counts
        (
            {
                "architectures": ["MyLM"],
                "auto_map": {"AutoModelForTokenClassification": "m.MyTagger", "AutoModelForCausalLM": "m.MyLM"},
            },
            "text-generation",
        ),
        (
            {
                "architectures": ["ChatGLM"],
                "auto_map": dict.fromkeys(("AutoModel", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM"), "m.ChatGLM"),
            },
            "text-generation",
        ),
    ],
)
def test_the_rest_of_the_config_counts_too(config: dict[str, Any], task: str) -> None:
    assert task_of_config(config, "m") == task


@pytest.mark.parametrize(
    ("config", "candidates"),
    [
        ({"architectures": ["T5ForConditionalGeneration"]}, SEQ2SEQ),
        ({"architectures": ["BartForConditionalGeneration"]}, SEQ2SEQ),
        (
            {
                "architectures": ["T5ForConditionalGeneration"],
                "task_specific_params": {"summarization": {}, "translation_en_to_de": {}},
            },
            SEQ2SEQ,
        ),
        (NLI, ("text-classification", "zero-shot-classification")),
        (
            {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "ENTAILMENT", "1": "NEUTRAL"}},
            ("text-classification", "zero-shot-classification"),
        ),
        ({"architectures": ["LayoutLMv3Model"]}, FEATURES),
    ],
)
def test_several_tasks_are_named_rather_than_guessed(config: dict[str, Any], candidates: tuple[str, ...]) -> None:
    with pytest.raises(AmbiguousTaskError) as caught:
        task_of_config(config, "my-model")
    *others, last = candidates
    expected = (
        f"my-model ({config['architectures'][0]}) could serve {', '.join(others)} or {last}: name one with `task:`"
    )
    assert str(caught.value) == expected


def test_no_other_class_of_transformers_is_ambiguous() -> None:
    """All of upstream's tables; an upgrade that makes a class ambiguous in a new way fails here."""
    tables = [table for name, table in vars(modeling_auto).items() if name.startswith("MODEL_FOR_") and "NAMES" in name]
    names = {
        name for table in tables for entry in table.values() for name in ([entry] if isinstance(entry, str) else entry)
    }
    assert len(names) > 1000
    several = {
        str(error).partition("serve ")[2] for name in names if isinstance(error := _outcome(name), AmbiguousTaskError)
    }
    assert several == {"summarization, text2text-generation or translation: name one with `task:`"}


def _outcome(architecture: str) -> TaskInferenceError | str:
    try:
        return task_of_config({"architectures": [architecture]}, "m")
    except TaskInferenceError as error:
        return error


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "names no architecture"),
        ({"architectures": []}, "names no architecture"),
        ({"architectures": None}, "names no architecture"),
        ({"architectures": ["BertForNextSentencePrediction"]}, "BertForNextSentencePrediction.* no pipeline task"),
        ({"architectures": ["ElectraForPreTraining"]}, "no pipeline task"),  # a discriminator fills no mask
        ({"architectures": ["Wav2Vec2Model"], "vocab_size": 32}, "no pipeline task"),  # features of sound
        ({"architectures": ["DiaForConditionalGeneration"]}, "no pipeline task"),
        ({"architectures": ["Pop2PianoForConditionalGeneration"]}, "no pipeline task"),
        ({"architectures": ["AudioFlamingo3ForConditionalGeneration"], "audio_config": {}}, "no pipeline task"),
        ({"architectures": ["NobodyKnowsMe"]}, "NobodyKnowsMe"),
    ],
)
def test_a_model_of_no_task_is_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(UnknownTaskError, match=says):
        task_of_config(config, "m")


@pytest.mark.parametrize("mark", ["modules.json", "config_sentence_transformers.json"])
def test_sentence_transformers_models_give_features(mark: str, tmp_path: Path) -> None:
    assert infer_task(_model(tmp_path, {"architectures": ["RobertaForMaskedLM"]}, mark)) == "feature-extraction"


def test_a_cross_encoder_classifies(tmp_path: Path) -> None:
    ref = _model(tmp_path, {"architectures": ["BertForSequenceClassification"]}, "config_sentence_transformers.json")
    assert infer_task(ref) == "text-classification"


def test_an_unreadable_config_is_refused(tmp_path: Path) -> None:
    ref = _model(tmp_path, {})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelReferenceError, match="cannot be read"):
        infer_task(ref)


def _gguf(folder: Path, architecture: bytes) -> ModelRef:
    def string(text: bytes) -> bytes:
        return struct.pack("<Q", len(text)) + text

    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + string(b"general.architecture") + struct.pack("<I", 8)
    (folder / "m.gguf").write_bytes(head + string(architecture) + bytes(64))
    return parse_model_ref(str(folder / "m.gguf"))


def test_gguf_files_generate_text_unless_they_hold_an_encoder_decoder(tmp_path: Path) -> None:
    assert infer_task(_gguf(tmp_path, b"llama")) == "text-generation"
    assert infer_task(parse_model_ref("owner/name/m.gguf@main")) == "text-generation"  # the hub is not asked
    with pytest.raises(AmbiguousTaskError, match=r"T5ForConditionalGeneration.*summarization"):
        infer_task(_gguf(tmp_path, b"t5"))


Hub = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """A hub that gives one answer or raises one error, beside an empty cache; returns the calls made to it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def answers(error: Exception | None = None, **info: Any) -> list[tuple[Any, ...]]:
        calls: list[tuple[Any, ...]] = []

        def model_info(name: str, *, revision: str | None = None, token: str | None = None) -> Any:
            calls.append((name, revision, token))
            if error is not None:
                raise error
            return SimpleNamespace(**info)

        monkeypatch.setattr(huggingface_hub, "model_info", model_info)
        return calls

    return answers


@pytest.mark.parametrize(
    ("tag", "library", "task"),
    [
        ("fill-mask", "transformers", "fill-mask"),
        ("zero-shot-classification", "transformers", "zero-shot-classification"),
        ("image-classification", "timm", "image-classification"),
        ("sentence-similarity", "sentence-transformers", "feature-extraction"),
        ("text-ranking", "sentence-transformers", "text-classification"),
        ("audio-text-to-text", "transformers", "any-to-any"),
        ("text-to-speech", "transformers", "text-to-audio"),
        ("any-to-any", None, "any-to-any"),
        *((task, None, task) for task in LEGACY_TASKS),
    ],
)
def test_the_hub_tells_the_task(tag: str, library: str | None, task: str, hub: Hub) -> None:
    calls = hub(pipeline_tag=tag, library_name=library)
    assert infer_task(parse_model_ref("owner/name@v1"), "secret") == task
    assert calls == [("owner/name", "v1", "secret")]


@pytest.mark.parametrize(
    ("info", "says"),
    [
        ({"pipeline_tag": "text-to-video"}, "has owner/name for text-to-video, which is no pipeline task"),
        ({"pipeline_tag": "fill-mask", "library_name": "spacy"}, "for spacy, not for transformers"),
        ({"pipeline_tag": None}, "owner/name, without a pipeline_tag on the hub, names no architecture"),
        ({"pipeline_tag": None, "config": {"architectures": ["Unheard"]}}, "Unheard, .* without a pipeline_tag"),
    ],
)
def test_a_model_that_the_hub_has_for_something_else_is_refused(info: dict[str, Any], says: str, hub: Hub) -> None:
    hub(**info)
    with pytest.raises(UnknownTaskError, match=says):
        infer_task(parse_model_ref("owner/name"))


def test_without_a_tag_the_architecture_on_the_hub_tells(hub: Hub) -> None:
    hub(pipeline_tag=None, config={"architectures": ["LlamaForCausalLM"]})
    assert infer_task(parse_model_ref("owner/name")) == "text-generation"


def _cache(folder: Path, config: dict[str, Any], revision: str = "main") -> Path:
    """The hub's cache with one model in it, as the hub's library lays it out."""
    repository = folder / "hub" / "models--owner--name"
    snapshot = repository / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / revision).write_text("c0ffee")
    (snapshot / "config.json").write_text(json.dumps(config))
    return snapshot


def _http_error(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    response: Any = httpx.Response(status, request=httpx.Request("GET", "http://127.0.0.1"))
    return kind("no", response=response)


UNREACHABLE = [OfflineModeIsEnabled("offline"), ConnectionResetError(), _http_error(HfHubHTTPError, 503)]


@pytest.mark.parametrize("error", UNREACHABLE, ids=lambda error: type(error).__name__)
def test_without_the_hub_the_cached_config_tells(error: Exception, hub: Hub, tmp_path: Path) -> None:
    hub(error)
    with pytest.raises(
        UnknownTaskError, match=rf"hub does not answer \({type(error).__name__}\).* not in the local cache"
    ):
        infer_task(parse_model_ref("owner/name"))
    snapshot = _cache(tmp_path, {"architectures": ["LlamaForCausalLM"]})
    assert infer_task(parse_model_ref("owner/name")) == "text-generation"
    with pytest.raises(UnknownTaskError, match="cache"):
        infer_task(parse_model_ref("owner/name@v2"))
    (snapshot / "modules.json").write_text("[]")
    assert infer_task(parse_model_ref("owner/name")) == "feature-extraction"


def test_a_revision_is_looked_up_in_the_cache(hub: Hub, tmp_path: Path) -> None:
    hub(OfflineModeIsEnabled("offline"))
    _cache(tmp_path, NLI, revision="v2")
    with pytest.raises(AmbiguousTaskError, match="text-classification or zero-shot-classification"):
        infer_task(parse_model_ref("owner/name@v2"))


def test_a_refused_connection_of_the_real_client_counts_as_no_answer(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    monkeypatch.setattr(huggingface_hub, "model_info", huggingface_hub.HfApi(endpoint="http://127.0.0.1:9").model_info)
    with pytest.raises(UnknownTaskError, match=r"does not answer \(ConnectError\)"):
        infer_task(parse_model_ref("owner/name"))


@pytest.mark.parametrize(("kind", "status"), [(RepositoryNotFoundError, 404), (GatedRepoError, 403)])
def test_a_model_that_the_hub_does_not_show_is_no_outage(kind: type[HfHubHTTPError], status: int, hub: Hub) -> None:
    hub(_http_error(kind, status))
    with pytest.raises(UnknownTaskError, match="shows no owner/name: check its name, or set HF_TOKEN"):
        infer_task(parse_model_ref("owner/name"))


@pytest.mark.parametrize("task", sorted(SUPPORTED_TASKS))
def test_every_task_has_upstreams_default_model(task: str) -> None:
    told = SUPPORTED_TASKS[task]["default"]["model"]
    assert default_model(task) == (told["pt"] if isinstance(told, dict) else told)
    assert default_model(task)[0].count("/") == 1


@pytest.mark.parametrize("task", sorted(LEGACY_TASKS))
def test_every_removed_task_has_a_default_model(task: str) -> None:
    assert default_model(task, {name: row.default for name, row in LEGACY_TASKS.items()}) == LEGACY_TASKS[task].default


def test_no_default_model_is_said() -> None:
    with pytest.raises(UnknownTaskError, match="fake has no default model: give one with `model:`"):
        default_model("fake")


@pytest.mark.parametrize("kind", [TaskInferenceError, AmbiguousTaskError, UnknownTaskError])
def test_the_errors_cross_processes_and_are_value_errors(kind: type[TaskInferenceError]) -> None:
    error = pickle.loads(pickle.dumps(kind("which?")))
    assert (type(error), str(error), isinstance(error, ValueError)) == (kind, "which?", True)


def test_importing_loads_no_transformers() -> None:
    program = "import sys, deployments.infer_task; print(*({'torch', 'transformers', 'ray'} & {*sys.modules}))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
