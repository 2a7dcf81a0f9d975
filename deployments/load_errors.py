"""Why a model could not be loaded, in one line; where upstream's own says little, what to change."""

from deployments.device_map import Placed

_KNOWN = {
    "device string: disk": (
        "no part of it fits into the memory that `max_memory`, or the machine, leaves for it: raise it, or quantise"
    ),
    "CUDA out of memory": (
        "its GPU has too little memory for it: reserve more GPUs, quantise it, or give `device_map: auto`; "
        "`pipeline-graph plan` says what it needs"
    ),
}


def reason_of(error: Exception) -> str:
    """The first line of ``error``."""
    text = str(error).strip()
    known = next((sentence for mark, sentence in _KNOWN.items() if mark in text), None)
    if known is not None:
        return known
    return (text.splitlines() or [type(error).__name__])[0]


def placed_otherwise(model: Placed) -> str:
    """What to change of a model that was loaded and cannot answer, if it lies elsewhere or in fewer bits than usual.

    Some models (MaskFormer, SAM) look at weights themselves, past the layers that know where they are and how.
    """
    if model.quantization is not None:
        return ". Not every model runs in fewer bits: it may without `quantization`"
    if model.device_map is not None:
        return ". Not every model runs with parts on other devices or the disk: it may without `device_map`"
    return ""
