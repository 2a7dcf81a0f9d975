"""Where a model's parts are put: contradictions are refused before anything is loaded."""

import inspect
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.config import ModelConfig
from deployments.device_map import placement, read_device_map, read_max_memory
from deployments.quantization import Quantization


def _config(**given: Any) -> ModelConfig:
    return ModelConfig.model_validate({"task": "text-generation", "model": "a/b", **given})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"device": "cpu", "device_map": "auto"}, "not both"),
        ({"device": "cuda", "device_map": {"": 0}}, "not both"),
        ({"device": "cpu", "model_kwargs": {"device_map": "auto"}}, "not both"),
        ({"device_map": "automatic"}, "no device"),
        ({"device_map": {}}, "must be auto, balanced"),
        ({"device_map": True}, "must be auto, balanced"),
        ({"device_map": ["cpu"]}, "must be auto, balanced"),
        ({"device_map": {"a": "gpu"}}, "'gpu' is no device"),
        ({"device_map": {"a": -1}}, "-1 is no device"),
        ({"device_map": "disk"}, "nothing computes"),
        ({"device_map": {"a": "disk", "b": "disk"}}, "nothing computes"),
        ({"device_map": {"": 1}, "resources": {"num_gpus": 1}}, "names GPU 1"),
        ({"device_map": {"a": "cuda:2"}, "resources": {"num_gpus": 2}}, "from 0"),
        ({"device_map": {"": 0}, "resources": {"num_gpus": 0}, "device": "cpu"}, "not both"),
        ({"max_memory": {0: "1GiB"}}, "it needs `device_map"),
        ({"max_memory": {0: "1GiB"}, "device_map": {"": 0}}, "it needs `device_map"),
        ({"max_memory": {"gpu": "1GiB"}, "device_map": "auto"}, "'gpu' is no device"),
        ({"max_memory": {0: "much"}, "device_map": "auto"}, "20GiB"),
        ({"max_memory": {0: True}, "device_map": "auto"}, "20GiB"),
        ({"max_memory": "1GiB", "device_map": "auto"}, "memory by device"),
        ({"offload_folder": "/tmp/x"}, "give `device_map` too"),
        ({"tp_plan": "auto", "device_map": "auto"}, "does not go with `device_map`"),
        ({"tp_plan": "auto", "device": "cuda"}, "does not go with `device`"),
        ({"tp_plan": "auto", "quantization": "8bit"}, "does not go with `quantization`"),
        ({"tp_plan": "auto", "resources": {"num_gpus": 1}}, "of 2 or more"),
        ({"tp_plan": "colwise"}, "tp_plan"),
        ({"quantization": "3bit"}, "8bit, 4bit or an object"),
        ({"quantization": {"bnb_4bit_quant_type": "nf4"}}, "load_in_8bit"),
        ({"quantization": {"load_in_8bit": True, "load_in_4bit": True}}, "one of"),
        ({"quantization": {"load_in_4bits": True}}, "load_in_4bits"),
        ({"quantization": "4bit", "device_map": {"a": 0, "b": "cpu"}}, "llm_int8_enable_fp32_cpu_offload"),
        ({"quantization": "4bit", "model": "a/b/c.gguf"}, "GGUF"),
        ({"quantization": "4bit", "model": "a/b/c.gguf@main"}, "GGUF"),
        ({"quantization": "4bit", "model_kwargs": {"load_in_8bit": True}}, "give it once"),
        ({"quantization": "4bit", "model_kwargs": {"quantization_config": {}}}, "give one"),
        ({"dtype": "float16", "model_kwargs": {"torch_dtype": "float32"}}, "give it once"),
    ],
)
def test_contradictions_and_mistakes_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _config(**given)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("auto", "auto"),
        ("balanced_low_0", "balanced_low_0"),
        ("cpu", {"": "cpu"}),
        ("cuda:1", {"": "cuda:1"}),
        (1, {"": 1}),
        ({"a": "0", "b": 1, "c": "cpu"}, {"a": 0, "b": 1, "c": "cpu"}),
        (None, None),
    ],
)
def test_device_maps(given: Any, read: Any) -> None:
    assert read_device_map(given) == read


def test_parts_that_compute_come_first() -> None:
    """``pipeline()`` sends its inputs to the first device."""
    assert list(read_device_map({"a": "disk", "b": 0, "c": "cpu"}).items()) == [("b", 0), ("c", "cpu"), ("a", "disk")]


def test_memory_survives_json_where_keys_are_texts() -> None:
    config = _config(device_map="auto", max_memory={0: "20 GiB", "1": 5, "cpu": "1.5GB"})
    assert config.max_memory == {0: "20GiB", 1: 5, "cpu": "1.5GB"}
    assert ModelConfig.model_validate(config.model_dump(mode="json")) == config
    assert read_max_memory(None) is None


def test_what_accelerate_reads_is_what_is_taken() -> None:
    from accelerate.utils.modeling import convert_file_size_to_int

    for text in ("20GiB", "1.5GB", "100MB", "7KiB", "20gib"):
        (memory,) = read_max_memory({0: text}).values()
        assert convert_file_size_to_int(memory) > 0


def test_old_spellings_find_their_keys() -> None:
    bits = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "load_in_8bit": False}
    config = _config(model_kwargs={**bits, "device_map": "auto", "x": 1})
    assert config.quantization == Quantization(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    assert (config.device_map, config.model_kwargs) == ("auto", {"x": 1})
    assert _config(model_kwargs={"torch_dtype": "float16", "attn_implementation": "eager"}).dtype == "float16"
    assert _config(model_kwargs={"load_in_8bit": False}).quantization is None


def test_every_key_of_bitsandbytes_has_its_name_and_default() -> None:
    from transformers import BitsAndBytesConfig

    theirs = inspect.signature(BitsAndBytesConfig).parameters
    mine = {name: field.default for name, field in Quantization.model_fields.items()}
    assert mine == {name: one.default for name, one in theirs.items() if name != "kwargs"}
    whole = Quantization(load_in_4bit=True).bits_and_bytes()
    assert whole.to_dict() == BitsAndBytesConfig(load_in_4bit=True).to_dict()


GPU = {"num_gpus": 1}


@pytest.mark.parametrize(
    ("given", "quantized", "arguments", "kwargs"),
    [
        ({}, False, {"device": "cpu"}, {}),
        ({"resources": GPU}, False, {"device": None}, {}),
        ({"resources": {"num_gpus": 0.5}}, False, {"device": None}, {}),
        ({"resources": {"num_gpus": 2}}, False, {"device": None}, {"device_map": "auto"}),
        ({"resources": {"num_gpus": 2}, "device": "cuda:1"}, False, {"device": "cuda:1"}, {}),
        ({"device": "mps"}, False, {"device": "mps"}, {}),
        ({}, True, {"device": "cpu"}, {"device_map": {"": "cpu"}}),
        ({"resources": GPU}, True, {"device": 0}, {"device_map": {"": 0}}),
        ({"resources": GPU, "device": "cuda"}, True, {"device": "cuda:0"}, {"device_map": {"": "cuda:0"}}),
        ({"resources": GPU, "device": "cpu"}, True, {"device": "cpu"}, {"device_map": {"": "cpu"}}),
        ({"resources": {"num_gpus": 2}}, True, {"device": None}, {"device_map": "auto"}),
        (
            {"device_map": "auto", "max_memory": {0: 5}},
            False,
            {"device": None},
            {"device_map": "auto", "max_memory": {0: 5}},
        ),
        ({"device_map": {"a": 0, "b": 0}}, False, {"device": 0}, {"device_map": {"a": 0, "b": 0}}),
        (
            {"device_map": {"a": 0, "b": "disk"}, "offload_folder": "/x"},
            False,
            {"device": None},
            {"device_map": {"a": 0, "b": "disk"}, "offload_folder": "/x"},
        ),
    ],
)
def test_what_pipeline_and_from_pretrained_are_told(
    given: dict[str, Any], quantized: bool, arguments: dict[str, Any], kwargs: dict[str, Any]
) -> None:
    assert placement(_config(**given), quantized) == (arguments, kwargs)


def test_accelerate_may_write_into_its_map() -> None:
    config = _config(device_map="auto", max_memory={0: "1GiB"})
    placement(config, False)[1]["max_memory"][0] = 7
    assert config.max_memory == {0: "1GiB"}
