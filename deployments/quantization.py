"""Weights in fewer bits: what ``quantization:`` may be. Light: no torch, no transformers until a model is loaded."""

from typing import Any, Literal, Self

from pydantic import model_validator

from deployments.strict import StrictModel

_SHORT: dict[str, dict[str, bool] | None] = {
    "none": None,
    "8bit": {"load_in_8bit": True},
    "4bit": {"load_in_4bit": True},
}
_BLOCK, _ROWS = 64, 32  # of weights that bitsandbytes takes together on a CPU: with one scale, and in one register
_Storage = Literal["uint8", "int8", "float16", "bfloat16", "float32", "float64"]


class Quantization(StrictModel):
    """The keys of transformers' ``BitsAndBytesConfig``, with its defaults.

    Args:
        load_in_8bit: linear layers in LLM.int8().
        load_in_4bit: linear layers in four bits.
        llm_int8_threshold: activations above it are multiplied in 16 bits (default 6).
        llm_int8_skip_modules: names of modules that stay as they are, in four bits too (default: the head).
        llm_int8_enable_fp32_cpu_offload: parts that a ``device_map`` leaves on the CPU or the disk stay in full
            precision there (default false: they are refused).
        llm_int8_has_fp16_weight: keep the weights in 16 bits; for training (default false).
        bnb_4bit_compute_dtype: dtype of the arithmetic in four bits (default: that of the input).
        bnb_4bit_quant_type: ``fp4`` or ``nf4`` (normal float).
        bnb_4bit_use_double_quant: quantise the scales too, which saves 0.4 bits a weight (default false).
        bnb_4bit_quant_storage: dtype that four-bit weights are packed into (default ``uint8``).
    """

    load_in_8bit: bool = False
    load_in_4bit: bool = False
    llm_int8_threshold: float = 6.0
    llm_int8_skip_modules: list[str] | None = None
    llm_int8_enable_fp32_cpu_offload: bool = False
    llm_int8_has_fp16_weight: bool = False
    bnb_4bit_compute_dtype: Literal["float16", "bfloat16", "float32"] | None = None
    bnb_4bit_quant_type: Literal["fp4", "nf4"] = "fp4"
    bnb_4bit_use_double_quant: bool = False
    bnb_4bit_quant_storage: _Storage | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.load_in_8bit == self.load_in_4bit:
            raise ValueError("set one of `load_in_8bit` and `load_in_4bit` to true")
        return self

    @property
    def bits(self) -> int:
        """Of a weight in a quantised layer."""
        return 8 if self.load_in_8bit else 4

    def bits_and_bytes(self) -> Any:
        """Transformers' own object."""
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(**self.model_dump())


def read_quantization(value: Any) -> Any:
    """``none``, ``8bit`` and ``4bit`` in their long form; anything else as it is.

    Raises:
        ValueError: another word.
    """
    if not isinstance(value, str):
        return value
    if value not in _SHORT:
        raise ValueError(f"must be none, 8bit, 4bit or an object of BitsAndBytesConfig's keys, not {value!r}")
    return _SHORT[value]


def check_quantized(model: Any) -> None:
    """Refuse a loaded model whose layers bitsandbytes cannot multiply on a CPU.

    Raises:
        ValueError: with the first such layer; without it the first forward pass would fail on an assertion.
    """
    if not getattr(model, "is_loaded_in_4bit", False):
        return
    for name, layer in model.named_modules():
        if type(layer).__name__ != "Linear4bit" or layer.weight.device.type != "cpu":
            continue
        rows = _ROWS if layer.support_avx512bf16_for_cpu else 1
        if layer.in_features % _BLOCK or layer.out_features % rows:
            raise ValueError(
                f"four bits on a CPU need layers that read a multiple of {_BLOCK} numbers and write one of {_ROWS}, "
                f"and {name} has {layer.in_features} and {layer.out_features}: use `quantization: 8bit`, or keep such "
                "layers as they are with `llm_int8_skip_modules`"
            )
