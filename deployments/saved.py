"""What a checkpoint says of itself before it is loaded. No Ray; transformers only inside functions."""

import os
from pathlib import Path
from typing import Any

from deployments.model_ref import ModelRef


def saved_config(ref: ModelRef) -> dict[str, Any]:
    """The ``config.json`` of a model, from this machine or the hub; empty where it has none.

    An adapter's is that of its own folder: empty. So is a GGUF file's, which stands in the file.
    """
    from transformers import PretrainedConfig

    if ref.gguf_file is not None:
        return {}
    try:
        found, _ = PretrainedConfig.get_config_dict(
            ref.name_or_path, revision=ref.revision, token=os.environ.get("HF_TOKEN")
        )
    except (OSError, ValueError):  # whoever loads the model says what is wrong with it
        return {}
    return dict(found)


def is_quantized(ref: ModelRef) -> bool:
    """Whether the weights were saved in fewer bits, by whichever method transformers reads."""
    return saved_quantization(saved_config(ref)) is not None


def saved_quantization(config: dict[str, Any]) -> dict[str, Any] | None:
    """``quantization_config`` of a ``config.json``, or of the text model in it."""
    text = config.get("text_config")
    nested = text.get("quantization_config") if isinstance(text, dict) else None
    found = config.get("quantization_config") or nested
    return found if isinstance(found, dict) else None


def saved_bytes(ref: ModelRef) -> int:
    """Size of the weights' files of a model that is on this machine; 0 where they are not here yet."""
    from huggingface_hub import try_to_load_from_cache

    if not ref.is_local:
        cached = try_to_load_from_cache(ref.name_or_path, ref.gguf_file or "model.safetensors", revision=ref.revision)
        return Path(cached).stat().st_size if isinstance(cached, str) else 0
    folder = Path(ref.name_or_path)
    if ref.gguf_file is not None:
        return (folder / ref.gguf_file).stat().st_size
    sizes = [sum(file.stat().st_size for file in folder.glob(kind)) for kind in ("*.safetensors", "*.bin")]
    return next((size for size in sizes if size), 0)
