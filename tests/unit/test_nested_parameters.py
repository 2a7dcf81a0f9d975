"""What stands inside ``*_kwargs`` and ``*_params``: settings, never an input, a file or an address of the caller's."""

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deployments.errors import InvalidParameterError
from deployments.parameters import accepted_names, merge_parameters
from deployments.tasks import TASKS
from deployments.tasks.arguments import parameters_of
from deployments.tasks.nested import NESTED, Group

HELD = [(task, name) for task, spec in TASKS.items() for name in sorted(parameters_of(spec)) if name in NESTED]
# what processors, tokenizers and models of transformers take as inputs, or open: text, media, annotations, voices
INPUTS = ["images", "image", "videos", "video", "audio", "audios", "raw_speech", "text", "text_pair", "text_target"]
INPUTS += ["voice_preset", "query_images", "segmentation_maps", "annotations", "masks_path", "class_info_file"]
INPUTS += ["repo_path", "font", "tesseract_config", "ocr_lang", "visual_prompt", "device", "load_audio_backend"]
INPUTS += ["tokenizer_file", "vocab_file", "video_metadata", "lm_score_boundary", "tokenizer_kwargs"]
VALUES: list[Any] = ["http://10.0.0.1/x", "/etc/passwd", ["/etc/passwd"], [["http://10.0.0.1/x"]], {"x": "/etc/passwd"}]


def _merge(task: str, given: dict[str, Any]) -> dict[str, Any]:
    spec = TASKS[task]
    return merge_parameters(spec, accepted_names(spec), dict(spec.example_parameters), given)


def test_every_parameter_that_holds_arguments_has_its_list() -> None:
    held = {name for spec in TASKS.values() for name in parameters_of(spec) if re.search(r"_(kwargs|params)$", name)}
    assert held - set(NESTED) == {"generate_kwargs", "forward_params"}  # settings of `generate`, by name
    assert {name for _, name in HELD} == set(NESTED)
    for spec in TASKS.values():
        for name, parameter in parameters_of(spec).items():
            assert isinstance(parameter.values, Group) or name not in NESTED


@pytest.mark.parametrize(("task", "name"), HELD)
def test_no_input_and_no_file_is_named_inside(task: str, name: str) -> None:
    for key in INPUTS:
        for value in VALUES:
            if name == "tokenizer_encode_kwargs" and isinstance(value, str):
                continue  # a variable of the chat template, or refused by the tokenizer's own signature
            for given in ({key: value}, {"images_kwargs": {key: value}}, {"processor_kwargs": {key: value}}):
                with pytest.raises(InvalidParameterError):
                    _merge(task, {name: given})


@pytest.mark.parametrize(("task", "name"), HELD)
def test_no_allowed_name_takes_a_string_of_the_callers(task: str, name: str) -> None:
    """Of a language alone, which is looked up among the tokenizer's."""
    for key in parameters_of(TASKS[task])[name].values.forms:  # type: ignore[attr-defined]
        for value in VALUES if key not in ("src_lang", "tgt_lang", "hotwords") else VALUES[-1:]:
            with pytest.raises(InvalidParameterError):
                _merge(task, {name: {key: value}})


@pytest.mark.parametrize("value", [np.zeros(3), np.array(["/etc/passwd"]), b"x", Image.new("L", (2, 2)), io.BytesIO()])
def test_nothing_but_plain_values_comes_in_a_typed_body(value: Any) -> None:
    for task, name in HELD:
        for key in ("size", "images", "max_length"):
            with pytest.raises(InvalidParameterError):
                _merge(task, {name: {key: value}})


@pytest.mark.parametrize(
    ("task", "given"),
    [
        ("text-generation", {"tokenizer_encode_kwargs": {"enable_thinking": False, "mood": "calm", "max_length": 9}}),
        ("image-text-to-text", {"processor_kwargs": {"min_pixels": 3136, "images_kwargs": {"size": {"height": 32}}}}),
        ("any-to-any", {"processor_kwargs": {"videos_kwargs": {"num_frames": 8}, "padding": "longest"}}),
        ("image-feature-extraction", {"image_processor_kwargs": {"image_mean": [0.5, 0.5, 0.5], "do_resize": None}}),
        ("text-to-audio", {"preprocess_params": {"max_length": 64, "return_attention_mask": True}}),
        ("automatic-speech-recognition", {"decoder_kwargs": {"beam_width": 10, "hotwords": ["Oslo"]}}),
        ("feature-extraction", {"tokenize_kwargs": {"padding_side": "left"}}),
        ("depth-estimation", {"parameters": {"timeout": 3}}),
    ],
)
def test_settings_pass_as_they_are(task: str, given: dict[str, Any]) -> None:
    assert _merge(task, given) == {**TASKS[task].example_parameters, **given}


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        (
            {"images": "/x"},
            "parameters.processor_kwargs.images",
            r"cannot be set by a caller; did you mean `image_std`\?",
        ),
        ({"voice_preset": "/x"}, "parameters.processor_kwargs.voice_preset", "cannot be set by a caller; known: add_"),
        ({"padding": "/x"}, "parameters.processor_kwargs.padding", '"longest" or "max_length"'),
        ({"size": {"height": 9999}}, "parameters.processor_kwargs.size.height", "may be 2048 at most"),
        ({"size": [float("nan")]}, "parameters.processor_kwargs.size", "may be 2048 at most"),
        ({1: 2}, "parameters.processor_kwargs.1", "cannot be set"),
        ({"size": {1: 2}}, "parameters.processor_kwargs.size", "made of numbers"),
    ],
)
def test_the_refusal_says_where_and_why(given: dict[Any, Any], field: str, says: str) -> None:
    with pytest.raises(InvalidParameterError, match=says) as caught:
        _merge("image-text-to-text", {"processor_kwargs": given})
    assert caught.value.field == field


def test_the_configuration_may_set_anything() -> None:
    spec = TASKS["text-to-audio"]
    defaults = {"preprocess_params": {"voice_preset": "v2/en_speaker_6"}}
    assert merge_parameters(spec, accepted_names(spec), defaults, {}) == defaults
