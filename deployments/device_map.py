"""Where the parts of a model are put: what ``device_map`` and ``max_memory`` may be, and what ``pipeline()`` is told.

Light: no torch, no accelerate.
"""

import re
from collections.abc import Mapping
from copy import copy
from typing import Any, Protocol

from deployments.quantization import Quantization
from deployments.resources import ResourceConfig

AUTOMATIC = ("auto", "balanced", "balanced_low_0", "sequential")
"""Maps that accelerate makes, from the memory there is."""
_DEVICE = re.compile(r"cpu|mps|(cuda|xpu)(:\d+)?")
_MEMORY = re.compile(r"\d+(\.\d+)?\s*[KMG]i?B", re.IGNORECASE)  # as accelerate reads it
_SLOW = ("cpu", "disk")


class Placed(Protocol):
    """What is looked at of a model's configuration."""

    @property
    def device(self) -> str | None: ...  # noqa: D102
    @property
    def device_map(self) -> str | dict[str, Any] | None: ...  # noqa: D102
    @property
    def max_memory(self) -> dict[int | str, int | str] | None: ...  # noqa: D102
    @property
    def offload_folder(self) -> str | None: ...  # noqa: D102
    @property
    def tp_plan(self) -> str | dict[str, str] | None: ...  # noqa: D102
    @property
    def quantization(self) -> Quantization | None: ...  # noqa: D102
    @property
    def resources(self) -> ResourceConfig: ...  # noqa: D102


def read_device_map(value: Any) -> Any:
    """A device map with the parts that compute first; devices as accelerate names them.

    ``pipeline()`` sends its inputs to the first device of the map, which cannot be the disk.

    Raises:
        ValueError: no map, or one of which no part is on a device that computes.
    """
    if value is None or value in AUTOMATIC:
        return value
    if isinstance(value, str | int) and not isinstance(value, bool):
        value = {"": value}
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"must be {', '.join(AUTOMATIC)}, a device, or {{module: device}}, not {value!r}")
    devices = {str(module): _device(device) for module, device in value.items()}
    on_disk = {module: device for module, device in devices.items() if device == "disk"}
    if len(on_disk) == len(devices):
        raise ValueError("puts all of the model on the disk, where nothing computes: give a part to cpu or a GPU")
    return {**{module: device for module, device in devices.items() if device != "disk"}, **on_disk}


def _device(value: Any) -> int | str:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (value == "disk" or _DEVICE.fullmatch(value)):
        return value
    raise ValueError(f"{value!r} is no device: write the number of a GPU, cuda:N, cpu or disk")


def read_max_memory(value: Any) -> Any:
    """Memory by device: numbers of GPUs as numbers, which JSON makes texts of.

    Raises:
        ValueError: another device, or no memory that accelerate reads.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"must be memory by device, like {{0: 20GiB, cpu: 60GiB}}, not {value!r}")
    found: dict[int | str, int | str] = {}
    for key, memory in value.items():
        device = int(key) if isinstance(key, str) and key.isdecimal() else key
        if isinstance(device, bool) or not (isinstance(device, int) or device in ("cpu", "mps", "disk")):
            raise ValueError(f"{key!r} is no device: write the number of a GPU, or cpu")
        if isinstance(memory, bool) or not (isinstance(memory, int) or _MEMORY.fullmatch(str(memory))):
            raise ValueError(f"{memory!r} is no memory: write bytes, or a text like 20GiB")
        found[device] = memory.replace(" ", "") if isinstance(memory, str) else memory
    return found


def check_placement(model: Placed) -> None:
    """Refuse what contradicts itself, before anything is loaded.

    Raises:
        ValueError: in a sentence that says what to change.
    """
    device_map, gpus = model.device_map, model.resources.num_gpus
    if model.device not in (None, "auto") and device_map is not None:
        raise ValueError("give `device` or `device_map`, not both: they conflict")
    if model.max_memory is not None and device_map not in AUTOMATIC:
        raise ValueError(f"`max_memory` bounds what accelerate places: it needs `device_map: {'|'.join(AUTOMATIC)}`")
    if model.offload_folder is not None and device_map is None:
        raise ValueError("`offload_folder` takes what a `device_map` leaves to the disk: give `device_map` too")
    _check_ranks(model)
    if not isinstance(device_map, dict):
        return
    devices = set(device_map.values())
    most = max((number for number in map(gpu_number, devices) if number is not None), default=-1)
    if gpus is not None and most >= max(1, gpus):
        raise ValueError(
            f"`device_map` names GPU {most}, and `resources.num_gpus` reserves {gpus:g}: a replica numbers its own "
            "GPUs from 0"
        )
    bits = model.quantization
    if bits is not None and not bits.llm_int8_enable_fp32_cpu_offload and devices & {*_SLOW} and devices != {"cpu"}:
        raise ValueError(
            "`quantization` with parts on the CPU or the disk keeps those in full precision, if you say so with "
            "`llm_int8_enable_fp32_cpu_offload: true`"
        )


def _check_ranks(model: Placed) -> None:
    if model.tp_plan is None:
        return
    others = {"device": model.device not in (None, "auto"), "device_map": model.device_map is not None}
    others["quantization"] = model.quantization is not None
    for name, given in others.items():
        if given:
            raise ValueError(f"`tp_plan` puts a share of every layer on every GPU: it does not go with `{name}`")
    if model.resources.num_gpus is not None and 0 < model.resources.num_gpus < 2:
        raise ValueError("`tp_plan` divides a model over the GPUs of a replica: give `resources.num_gpus` of 2 or more")


def gpu_number(device: Any) -> int | None:
    """Of a device as `read_device_map` gives it, or None if it is no GPU."""
    if isinstance(device, int):
        return device
    kind, _, number = str(device).partition(":")
    return int(number or 0) if kind in ("cuda", "xpu") else None


def placement(model: Placed, quantized: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of ``pipeline()`` and of ``from_pretrained`` that put a model in its place.

    On its own, a GPU is taken only by a replica that reserved one, and several are shared out by accelerate. A map of
    one device becomes ``device`` too: ``pipeline()`` would move the model to the first GPU.

    Args:
        model: the configuration.
        quantized: whether the weights come in fewer bits, from here or from the checkpoint; these load onto their
            device, as they cannot be moved afterwards.
    """
    gpus = model.resources.num_gpus or 0
    where: Any = model.device_map
    if where is None and model.device not in (None, "auto"):
        if not quantized:
            return {"device": model.device}, {}
        where = {"": f"{model.device}:0" if model.device in ("cuda", "xpu") else model.device}
    if where is None:
        if gpus <= 1 and not quantized:
            return {"device": None if gpus else "cpu"}, {}
        where = "auto" if gpus > 1 else {"": 0 if gpus else "cpu"}
    given = {"device_map": where, "max_memory": model.max_memory, "offload_folder": model.offload_folder}
    # copies, as accelerate writes into what it is given
    kwargs = {key: copy(value) for key, value in given.items() if value is not None}
    single = set(where.values()) if isinstance(where, dict) else set()
    return {"device": next(iter(single)) if len(single) == 1 else None}, kwargs


def input_device(model: Any) -> Any:
    """Where a loaded model takes its inputs; its own ``device`` is no device while its first part is on the disk."""
    found = getattr(model, "hf_device_map", None)
    if not found:
        return model.device
    import torch

    computing = [device for device in found.values() if device not in _SLOW]
    return torch.device(computing[0] if computing else "cpu")
