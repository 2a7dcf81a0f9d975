"""Weights in fewer bits: the answers stay close, the memory shrinks by what the bits say."""

from pathlib import Path
from typing import Any

import pytest
import torch

from deployments.errors import ModelLoadError
from deployments.footprint import weights
from tests.engine.conftest import Served
from tests.large.models import TEXTS, config, loaded, logits

pytestmark = pytest.mark.pipelines
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
GREEDY = {"max_new_tokens": 8, "do_sample": False}


@pytest.fixture(scope="module")
def full(language_model: Path) -> Any:
    return loaded(language_model, dtype="float32")


def _agreement(pipe: Any, other: Any) -> tuple[float, float]:
    """Mean cosine of the scores of a token, and share of tokens of the same best guess."""
    mine, theirs = torch.cat(logits(pipe)), torch.cat(logits(other))
    cosines = torch.nn.functional.cosine_similarity(mine, theirs, dim=-1)
    return float(cosines.mean()), float((mine.argmax(-1) == theirs.argmax(-1)).float().mean())


def _linear_bytes(pipe: Any) -> int:
    """Of the weights that are quantised: all linear layers but the head."""
    layers = [module for name, module in pipe.model.named_modules() if name.endswith("proj")]
    assert len(layers) == 2 * 7
    return sum(layer.weight.numel() * layer.weight.element_size() for layer in layers)


@pytest.mark.parametrize(
    ("quantization", "least_cosine", "least_same", "factor"),
    [
        ("8bit", 0.995, 0.95, 4),
        ("4bit", 0.9, 0.7, 8),
        (NF4, 0.95, 0.75, 8),
    ],
    ids=["8bit", "4bit", "nf4"],
)
def test_answers_stay_close_and_memory_shrinks(
    language_model: Path, full: Any, quantization: Any, least_cosine: float, least_same: float, factor: int
) -> None:
    pipe = loaded(language_model, dtype="float32", quantization=quantization)
    cosine, same = _agreement(pipe, full)
    print("agree", quantization, cosine, same)
    assert least_cosine < cosine < 1 - 1e-6  # and not by having stayed in full precision
    assert same >= least_same
    assert _linear_bytes(full) == factor * _linear_bytes(pipe)
    rest = weights(full.model)["weight_bytes"] - _linear_bytes(full)
    assert weights(pipe.model)["weight_bytes"] == rest + _linear_bytes(pipe)
    assert weights(pipe.model)["quantization"] == f"{32 // factor}bit"


def test_every_key_reaches_bitsandbytes(language_model: Path) -> None:
    pipe = loaded(
        language_model,
        quantization={
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": "bfloat16",
            "llm_int8_skip_modules": ["down_proj", "lm_head"],
        },
    )
    layer = pipe.model.model.layers[0].mlp
    assert layer.up_proj.weight.quant_type == "nf4"
    assert layer.up_proj.weight.quant_state.nested
    assert layer.up_proj.compute_dtype is torch.bfloat16
    assert type(layer.down_proj) is torch.nn.Linear


def test_the_old_spelling_means_the_same(language_model: Path) -> None:
    new = loaded(language_model, quantization="8bit")
    old = loaded(language_model, model_kwargs={"load_in_8bit": True})
    assert all(torch.equal(one, other) for one, other in zip(logits(old), logits(new), strict=True))
    off = loaded(language_model, model_kwargs={"load_in_8bit": False})
    assert weights(off.model)["quantization"] == "none"


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_checkpoint_saved_in_fewer_bits_is_loaded_as_it_is(language_model: Path, tmp_path: Path, bits: str) -> None:
    pipe = loaded(language_model, quantization=bits)
    pipe.model.save_pretrained(tmp_path)
    loaded(language_model).tokenizer.save_pretrained(tmp_path)
    again = loaded(tmp_path)
    assert weights(again.model) == weights(pipe.model)
    assert again.device.type == "cpu"
    assert all(torch.equal(one, other) for one, other in zip(logits(again), logits(pipe), strict=True))


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_it_is_served_and_tells_what_it_is(language_model: Path, bits: str) -> None:
    pipe = loaded(language_model, quantization=bits)
    expected = [pipe(text, **GREEDY)[0]["generated_text"] for text in TEXTS]
    served = Served(pipe, "text-generation", config(language_model).batch, check=True)
    try:
        outcomes = [served.runner.run(text, GREEDY) for text in TEXTS]
        assert [outcome[0]["generated_text"] for outcome in outcomes] == expected
        assert served.runner.info()["quantization"] == bits
    finally:
        served.engine.close()


@pytest.mark.parametrize("kind", ["eager", "sdpa"])
def test_the_attention_is_the_one_asked_for(language_model: Path, full: Any, kind: str) -> None:
    pipe = loaded(language_model, dtype="float32", attn_implementation=kind)
    assert pipe.model.config._attn_implementation == kind
    for one, other in zip(logits(pipe), logits(full), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_an_attention_that_is_not_there_is_told(language_model: Path) -> None:
    with pytest.raises(ModelLoadError, match="FlashAttention"):
        loaded(language_model, attn_implementation="flash_attention_2")
