"""What a loaded model takes and where it lies. No Ray."""

from typing import Any


def weights(model: Any) -> dict[str, Any]:
    """Of the weights of a loaded model, for ``/models/{name}/info``; empty for what is no model of transformers.

    Returns:
        ``weight_bytes`` (parameters and buffers, on all devices), ``quantization`` (``8bit``, ``4bit``, the name of
        another method, or ``none``), and where accelerate spread them ``device_map`` ({device: bytes}).
    """
    if not hasattr(model, "get_memory_footprint"):
        return {}
    found: dict[str, Any] = {"weight_bytes": int(model.get_memory_footprint()), "quantization": _method(model)}
    if getattr(model, "hf_device_map", None):
        found["device_map"] = bytes_by_device(model)
    return found


def _method(model: Any) -> str:
    for bits in ("8bit", "4bit"):
        if getattr(model, f"is_loaded_in_{bits}", False):
            return bits
    method = getattr(model, "quantization_method", None)
    return str(getattr(method, "value", method) or "none")


def bytes_by_device(model: Any) -> dict[str, int]:
    """Bytes of parameters on each device of a model that was loaded with a ``device_map``; tied ones once."""
    found: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        modules = [".".join(parts[:length]) for length in range(len(parts), -1, -1)]
        device = next((model.hf_device_map[module] for module in modules if module in model.hf_device_map), "none")
        found[str(device)] = found.get(str(device), 0) + parameter.numel() * parameter.element_size()
    return found
