"""What a checkpoint says of itself before it is loaded. No Ray; transformers only inside functions."""

import os
from pathlib import Path
from typing import Any

from deployments.model_ref import ModelRef

# at least one of them is in the folder of a hub model that was loaded here
_ONE_OF = ("config.json", "adapter_config.json", "model.safetensors")


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
    if not ref.is_local:
        known = (ref.gguf_file,) if ref.gguf_file else _ONE_OF
        found = next((path for name in known if (path := _cached(ref, name))), None)
        if found is None or ref.gguf_file is not None:
            return found.stat().st_size if found is not None else 0
        return _weights(found.parent)
    folder = Path(ref.name_or_path)
    return _weights(folder) if ref.gguf_file is None else (folder / ref.gguf_file).stat().st_size


def _cached(ref: ModelRef, name: str) -> Path | None:
    """A file of a hub model, where it is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(ref.name_or_path, name, revision=ref.revision)
    return Path(cached) if isinstance(cached, str) else None


def _weights(folder: Path) -> int:
    """Bytes of the weights in a folder, in one file or in many."""
    sizes = [sum(file.stat().st_size for file in folder.glob(kind)) for kind in ("*.safetensors", "*.bin")]
    return next((size for size in sizes if size), 0)
