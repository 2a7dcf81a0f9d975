"""Arguments of ``from_pretrained`` that have keys of their own here, found where people used to write them.

    model_kwargs: {load_in_8bit: true, device_map: auto}    becomes    quantization: 8bit, device_map: auto

transformers 5 no longer takes ``load_in_8bit`` itself, and a ``device_map`` must be known here: a pipeline that is told
a device beside it fails.
"""

from typing import Any

from deployments.quantization import Quantization

_OWN = ("device_map", "max_memory", "offload_folder", "attn_implementation", "tp_plan", "dtype")
_OLD = {"torch_dtype": "dtype"}


def hoisted(model: Any) -> Any:
    """A model's configuration, as written, with what stands in ``model_kwargs`` under the keys that it has here.

    Raises:
        ValueError: something is given in both places.
    """
    kwargs = model.get("model_kwargs") if isinstance(model, dict) else None
    if not isinstance(kwargs, dict):
        return model
    rest, found = dict(kwargs), {}
    for key in [key for key in kwargs if key in _OWN or key in _OLD]:
        found[_OLD.get(key, key)] = rest.pop(key)
    bits = {key: rest.pop(key) for key in Quantization.model_fields if key in rest}
    if bits.get("load_in_8bit") or bits.get("load_in_4bit"):
        found["quantization"] = bits
    if "quantization_config" in rest and (found.get("quantization") or model.get("quantization") not in (None, "none")):
        raise ValueError("`quantization_config` in `model_kwargs` and `quantization` say the same: give one")
    twice = sorted(key for key in found if model.get(key) not in (None, "none", "auto"))
    if twice:
        raise ValueError(f"`{twice[0]}` stands in `model_kwargs` too: give it once")
    return {**model, **found, "model_kwargs": rest}
