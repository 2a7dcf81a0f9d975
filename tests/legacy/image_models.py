"""Tiny seeded models of the picture tasks that ``models.py`` leaves out, and the calls asked of transformers 4.57.

    python -m tests.legacy.image_models DIR              builds the checkpoints and calls.json there (this environment)
    PY4 tests/legacy/record.py DIR golden/images.json    answers them, with an interpreter that has transformers 4.57

Generated visual answers (BLIP), captions by GIT and Pix2Struct, and every call form of the picture tasks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from transformers import (
    BlipConfig,
    BlipForQuestionAnswering,
    GenerationConfig,
    GitConfig,
    GitForCausalLM,
    Pix2StructConfig,
    Pix2StructForConditionalGeneration,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.pix2struct.image_processing_pil_pix2struct import Pix2StructImageProcessorPil

from tests.legacy import models
from tests.legacy.calls import export
from tests.legacy.models import EIGHT, LAYERS, SQUARE
from tests.tiny import Case, samples, tokenizers
from tests.tiny.common import save, seeded

_SPECIAL = {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}


def _without_token_types(directory: Path) -> None:
    """As the tokenizers of BLIP and GIT are on the hub; ``save_pretrained`` leaves it out."""
    path = directory / "tokenizer_config.json"
    names = {"model_input_names": ["input_ids", "attention_mask"]}
    path.write_text(json.dumps({**json.loads(path.read_text()), **names}))


def _blip_answers(directory: Path) -> None:
    tokenizer = tokenizers.wordpiece(model_max_length=64)
    text = {"vocab_size": len(tokenizer), "encoder_hidden_size": 32, "max_position_embeddings": 64, **LAYERS}
    config = BlipConfig(
        text_config={**text, **_SPECIAL},
        vision_config={**LAYERS, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        image_text_hidden_size=16,
    )
    model = seeded(lambda: BlipForQuestionAnswering(config), gain=2.0)
    model.generation_config = GenerationConfig(max_length=9, repetition_penalty=1.3)  # BLIP hands these to its decoder
    save(directory, model, tokenizer, BlipImageProcessorPil(size=SQUARE))
    _without_token_types(directory)


def _git(directory: Path) -> None:
    tokenizer = tokenizers.wordpiece(model_max_length=64)
    config = GitConfig(
        vocab_size=len(tokenizer),
        **LAYERS,
        max_position_embeddings=320,  # for the pipeline's 256 new tokens
        vision_config={**LAYERS, "image_size": 32, "patch_size": 8},
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE)
    save(directory, seeded(lambda: GitForCausalLM(config), gain=2.0), tokenizer, images)
    _without_token_types(directory)


def _pix2struct(directory: Path) -> None:
    tokenizer = tokenizers.wordpiece(model_max_length=64)
    sizes = {"hidden_size": 32, "d_kv": 8, "d_ff": 64}
    text = {**sizes, "vocab_size": len(tokenizer), "num_layers": 2, "num_heads": 4, "eos_token_id": 3}
    vision = {**sizes, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_embed_hidden_size": 192, "seq_len": 64}
    settings = {"image-to-text": {"num_beams": 3, "max_new_tokens": 6}}
    config = Pix2StructConfig(
        text_config={**text, "is_decoder": True}, vision_config=vision, task_specific_params=settings
    )
    model = seeded(lambda: Pix2StructForConditionalGeneration(config), gain=2.0)
    images = Pix2StructImageProcessorPil(patch_size={"height": 8, "width": 8}, max_patches=24)
    save(directory, model, tokenizer, images)


CASES: tuple[Case, ...] = (
    Case("vqa-blip", "visual-question-answering", _blip_answers, models._visual_questions, {}, batchable=False),
    Case("caption-git", "image-to-text", _git, samples.pictures, {"prompt": "a photo of"}, EIGHT),
    Case("caption-pix2struct", "image-to-text", _pix2struct, samples.pictures, {"max_new_tokens": 3}),
)
_OTHERS = {case.id: case for case in models.CASES}
_BLIP, _VILT, _GPT2 = "image-to-text-blip", "visual-question-answering-vilt", "image-to-text-vit-gpt2"
_SWIN = "image-to-image-swin2sr"
USED: tuple[Case, ...] = (*CASES, *(_OTHERS[name] for name in (_BLIP, _VILT, _GPT2, _SWIN)))


def _forms(case: str) -> list[tuple[str, list[Any], dict[str, Any]]]:
    """The call forms of visual question answering."""
    one, two, _ = samples.pictures()
    what, red = "what is it", "is it a red house"
    first, second = {"image": one, "question": what}, {"image": two, "question": red}
    return [
        (case, [one, what], {}),
        (case, [], {"image": one, "question": what, "top_k": 1}),
        (case, [[first]], {"top_k": 2}),
        (case, [[first, second]], {"top_k": 100}),
        (case, [], {"image": one, "question": [what, red], "top_k": 1}),
        (case, [], {"image": [one, two], "question": what, "top_k": 1}),
        (case, [], {"image": [one, two], "question": [what, red], "top_k": 1}),
        (case, [], {"image": [one], "question": [what], "top_k": 1}),
        (case, [[first, first]], {"top_k": 1, "batch_size": 2}),
        (case, [one, "what " * 80], {"truncation": True}),
        (case, [[]], {}),
    ]


def _captions(case: str) -> list[tuple[str, list[Any], dict[str, Any]]]:
    """The call forms of captions."""
    one, *_ = pictures = list(samples.pictures())
    beams = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 5}
    return [
        (case, [pictures], EIGHT),
        (case, [pictures[:1]], EIGHT),
        (case, [pictures], {**EIGHT, "batch_size": 3}),
        (case, [one], {"generate_kwargs": beams}),
        (case, [one.convert("L")], EIGHT),
        (case, [[]], {}),
    ]


def calls() -> list[dict[str, Any]]:
    """Three inputs and the changed parameter of each case, then every form of call, as plain data."""
    small = samples.picture(4, (24, 20))
    found = [
        (case.id, [value], parameters)
        for case in CASES
        for parameters in (case.always, {**case.always, **case.parameters})
        for value in case.inputs
    ]
    for name in ("vqa-blip", _VILT):
        found += _forms(name)
    for name in ("caption-git", "caption-pix2struct", _BLIP, _GPT2):
        found += _captions(name)
    found.append(("caption-git", [small], {}))  # the 256 new tokens of the pipeline
    found += [("caption-git", [list(samples.pictures())], {**EIGHT, "prompt": "a dog", "batch_size": 2})]
    found += [(_SWIN, [[small]], {}), (_SWIN, [[small, small]], {"batch_size": 2}), (_SWIN, [[]], {})]
    return [{"case": name, "args": args, "kwargs": kwargs} for name, args, kwargs in found]


if __name__ == "__main__":
    export(Path(sys.argv[1]), USED, calls())
