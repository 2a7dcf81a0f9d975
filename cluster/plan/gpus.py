"""GPUs that are known, and how many of one kind a model needs."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.device_map import AUTOMATIC

USABLE = 0.9
"""Share of a GPU's memory that is planned with, as accelerate does; CUDA itself, libraries and fragments take some."""
COUNTS = (1, 2, 4, 8)
"""GPUs of one node that a replica may have."""


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU.

    Args:
        name: as Ray calls it in ``accelerator_type``.
        memory_gib: of one, as programs find it.
        bandwidth_gb_s: of its memory, as its maker states it (10^9 bytes a second).
    """

    name: str
    memory_gib: float
    bandwidth_gb_s: float

    @property
    def usable_bytes(self) -> int:
        """What a model and its batches may take of one."""
        return int(self.memory_gib * 2**30 * USABLE)


KNOWN: dict[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        Gpu("T4", 14.5, 320),  # NVIDIA T4 product brief PB-09256: 16 GB, up to 320 GB/s
        Gpu("P100", 15.8, 732),  # Tesla P100 PCIe data sheet: 16 GB, 732 GB/s
        Gpu("V100", 15.7, 900),  # Tesla V100 data sheet, 16 GB: from memory, not looked up again
        Gpu("L4", 22.0, 300),  # NVIDIA L4 data sheet: 24 GB, 300 GB/s
        Gpu("A10G", 22.0, 600),  # Amazon's kind of the A10: 24 GB, 600 GB/s as in the data sheet of that
        Gpu("L40S", 44.3, 864),  # NVIDIA L40S data sheet: 48 GB, 864 GB/s
        Gpu("A100-40G", 39.3, 1555),  # NVIDIA A100 data sheet: 40 GB, 1,555 GB/s
        Gpu("A100-80G", 79.1, 2039),  # the same: 80 GB, 2,039 GB/s (SXM; PCIe 1,935)
        Gpu("H20", 95.0, 4000),  # no public data sheet: what sellers state; 3,712 were measured (AutoMegaKernel, PR 3)
        Gpu("RTX-PRO-6000", 94.9, 1792),  # RTX PRO 6000 Blackwell, workstation edition: 96 GB, 1,792 GB/s
        Gpu("H100", 79.1, 3350),  # NVIDIA H100 data sheet, SXM: 80 GB, 3.35 TB/s (PCIe, PB-11133-001: 2 TB/s)
        Gpu("H200", 139.8, 4800),  # NVIDIA H200 data sheet: 141 GB, 4.8 TB/s
        Gpu("B200", 178.3, 8000),  # NVIDIA B200: 180 GB, 8 TB/s; its bus gives 7.7 (pytorch/ao, PR 4002)
        Gpu("AMD-Instinct-MI300X-OAM", 191.9, 5300),  # AMD Instinct MI300X data sheet: 192 GB, 5.3 TB/s
    )
}
"""GPUs that Ray names and that models are planned for.

Memory is what torch finds, as its messages of too little memory tell ("GPU 0 has a total capacity of 22.03 GiB"),
rounded down: less than the maker's round number, which counts in 10^9 bytes and includes what error correction and the
driver keep. A kind of several forms has the bandwidth of its fastest one: it is used for a ceiling. Some sheets were
read as resellers and others quote them.
"""
KNOWN["A100"] = KNOWN["A100-40G"]  # Ray names both; the smaller one is planned with


@dataclass(frozen=True)
class Supply:
    """The GPUs that a replica may get.

    Args:
        kind: the smallest one that it may be given.
        most: GPUs of the largest node.
    """

    kind: Gpu
    most: int


@dataclass(frozen=True)
class Fit:
    """A model on GPUs of one kind.

    Args:
        count: GPUs that one replica needs, or None where eight do not hold it.
        spare_bytes: left of them beside weights, cache and activations.
    """

    count: int | None
    spare_bytes: int


def fit(needed_bytes: int, usable_bytes: int, largest: int = 0) -> Fit:
    """Fewest of `COUNTS` GPUs with ``usable_bytes`` each that hold a model.

    Args:
        needed_bytes: of all of it.
        usable_bytes: of one GPU.
        largest: of its largest part. Parts are not cut to fill several GPUs, so that each may have as much left over.
    """

    def room(count: int) -> int:
        return count * (usable_bytes - (count > 1) * largest)

    count = next((count for count in COUNTS if needed_bytes <= room(count)), None)
    return Fit(count, (count or COUNTS[-1]) * usable_bytes - needed_bytes)


def device_map(empty: Any, count: int, usable_bytes: int, kind: str = "auto") -> dict[str, Any]:
    """Where accelerate puts the parts of a model over ``count`` GPUs, as ``from_pretrained`` asks it.

    Args:
        empty: a model of `cluster.plan.empty.empty_model`.
        count: GPUs (>=1).
        usable_bytes: of one.
        kind: one of `AUTOMATIC`.
    """
    from transformers.integrations.accelerate import get_balanced_memory, infer_auto_device_map

    assert kind in AUTOMATIC
    quiet = logging.getLogger("accelerate.utils.modeling")  # it warns of GPUs that are not in this machine
    before, quiet.level = quiet.level, logging.ERROR
    quantizer = getattr(empty, "hf_quantizer", None)
    memory: dict[Any, Any] = {**dict.fromkeys(range(count), usable_bytes), "cpu": 0}
    parts = empty._no_split_modules
    try:
        if kind != "sequential":
            low = kind == "balanced_low_0"
            memory = get_balanced_memory(empty, memory, parts, hf_quantizer=quantizer, low_zero=low)
        if quantizer is not None:
            memory = quantizer.adjust_max_memory(memory)
        return dict(infer_auto_device_map(empty, memory, parts, hf_quantizer=quantizer))
    finally:
        quiet.level = before


def supply_of(nodes: Iterable[tuple[float, Gpu | None]]) -> Supply | None:
    """What nodes offer together; None where none has a GPU.

    Args:
        nodes: GPUs of each, and their kind. A kind that is not known counts as the smallest that is.
    """
    there = [(int(count), kind) for count, kind in nodes if count >= 1]
    if not there:
        return None

    def memory(gpu: Gpu) -> float:
        return gpu.memory_gib

    kinds = [kind or min(KNOWN.values(), key=memory) for _, kind in there]
    return Supply(min(kinds, key=memory), max(count for count, _ in there))


def kind_of_node(resources: Mapping[str, float]) -> Gpu | None:
    """The kind of GPU of a Ray node, by its ``accelerator_type`` resource; the one with least memory of several."""
    names = [name.removeprefix("accelerator_type:") for name in resources if name.startswith("accelerator_type:")]
    return min((KNOWN[name] for name in names if name in KNOWN), key=lambda gpu: gpu.memory_gib, default=None)
