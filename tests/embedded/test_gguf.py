"""A GGUF file that transformers unpacks is as fast as a plain copy: its weights are, and lie, as that one's do."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from deployments.config import ModelConfig
from deployments.load import load
from embedded.catalog import MODELS
from tests.tiny.compare import difference

pytestmark = [pytest.mark.pipelines, pytest.mark.timeout(600)]


def _model(source: str, dtype: str) -> Any:
    return load(ModelConfig(name="m", task="text-generation", model=source, dtype=dtype)).pipe.model  # type: ignore[arg-type]


def test_decisions_of_a_gguf_file_are_those_of_a_plain_copy(models: dict[str, Path]) -> None:
    spec = MODELS["smollm2-135m-instruct"]
    question = {"type": "noul", "instructions": "Is a refund requested?"}
    request = {"state": "I was charged twice and want a refund.", "questions": {"refund": question}}
    given = ModelConfig(name="m", task="decision", model=f"package:{spec.module}/{spec.data}")
    plain = str(models[spec.name])
    tokenizer = AutoTokenizer.from_pretrained(plain)
    local = pipeline("decision", model=AutoModelForCausalLM.from_pretrained(plain), tokenizer=tokenizer)
    assert difference(load(given).pipe(request), local(request)) is None


def _layers(model: Any) -> Counter[tuple[str, bool]]:
    """Kinds of modules, and whether they run through a packed copy of their weights."""
    return Counter((type(module).__name__, "forward" in vars(module)) for module in model.modules())


@pytest.mark.parametrize("dtype", ["auto", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_weights_are_those_of_a_plain_copy(models: dict[str, Path], dtype: str) -> None:
    spec = MODELS["smollm2-135m-instruct"]
    unpacked = _model(f"package:{spec.module}/{spec.data}", dtype)
    plain = _model(str(models[spec.name]), dtype)
    mine, theirs = dict(unpacked.named_parameters()), dict(plain.named_parameters())
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(mine[name], value), name
        assert mine[name].dtype is value.dtype, name
        assert mine[name].stride() == value.stride(), name
        assert mine[name].untyped_storage().nbytes() == value.untyped_storage().nbytes(), name
    for model in (unpacked, plain):
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert _layers(unpacked) == _layers(plain)
    assert unpacked.config._attn_implementation == plain.config._attn_implementation
    assert not any(value.requires_grad and unpacked.training for value in mine.values())
