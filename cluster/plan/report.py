"""A plan in words, with the configuration to paste."""

from collections.abc import Iterator
from typing import Any

from cluster.plan.gpus import KNOWN, Gpu, device_map
from cluster.plan.needs import ModelNeeds, Needs
from deployments.config import ModelConfig

DISK_GB_S = 1.0
"""Assumed of a disk that weights are read from (10^9 bytes a second) the first time; then the page cache has them."""
_ROW = "  {:<26}{:>6}{:>12}{:>16}{:>16}"


def size(count: float) -> str:
    """Bytes as people write them."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def report(model: ModelNeeds, gpu: Gpu | None = None) -> str:
    """All that is known of a model before it is started.

    Args:
        model: to be planned.
        gpu: the kind that the configuration to paste is made for (default: the smallest one of which one is enough).

    Raises:
        PlanError: it cannot be planned.
    """
    needs, config = model.as_configured(), model.config
    chosen = gpu or _smallest(needs)
    lines = [
        f"{config.name}: {config.task}, {model.ref.source}",
        *_weights(model, needs),
        *_batch(needs),
        *_load(model, needs),
        "",
        *_table(needs, model.generates),
        *_map(model, needs, chosen),
        "",
        "To paste under `models:`" + (f", for {chosen.name}:" if chosen else ":"),
        *_paste(config, needs, chosen),
    ]
    return "\n".join(lines)


def _weights(model: ModelNeeds, needs: Needs) -> Iterator[str]:
    yield f"  parameters   {needs.weights.parameters:,}"
    if model.headers is not None:
        dtypes = ", ".join(sorted(model.headers.dtypes))
        yield f"  saved        {size(model.headers.bytes)} in safetensors ({dtypes})"
    choices = [f"{name} {size(weights.bytes)}" for name, weights in model.choices()]
    if choices:
        yield f"  weights      {'   '.join(choices)}"
    said = f"dtype {model.config.dtype}"
    if model.config.quantization is not None:
        said += f", {model.config.quantization.bits}bit"
    yield f"  configured   {said}: weights {size(needs.weights.bytes)}"


def _batch(needs: Needs) -> Iterator[str]:
    batch = f"{needs.rows} rows of {needs.tokens} tokens"
    if needs.cache is not None:
        yield f"  cache        {size(needs.cache)} of keys and values for a full batch, {batch}"
    if needs.kept:
        yield f"  prefixes     at most {size(needs.kept)} of keys and values of prompts that came before"
    if needs.activations is None:
        yield "  activations  not known: the model looks at its numbers, so it cannot be run without weights"
    else:
        yield f"  activations  at most {size(needs.activations)} in a full batch"
    yield f"  in all       {size(needs.total)}"


def _load(model: ModelNeeds, needs: Needs) -> Iterator[str]:
    saved = model.headers.bytes if model.headers is not None else needs.weights.bytes
    seconds = max(1, round(saved / (DISK_GB_S * 1e9)))
    yield f"  load         about {seconds} s from a disk of {DISK_GB_S:g} GB/s, less once it is in the page cache"


def _table(needs: Needs, generates: bool) -> Iterator[str]:
    heads = ("tokens/s, one", "tokens/s, full") if generates else ("", "")
    yield _ROW.format("  GPU (90% of its memory)", "GPUs", "left", *heads).rstrip()
    for gpu in dict.fromkeys(KNOWN.values()):
        found = needs.fit(gpu)
        if found.count is None:
            yield _ROW.format(gpu.name, "> 8", "-", "-" if generates else "", "-" if generates else "").rstrip()
            continue
        speeds = [f"{speed:,.0f}" for speed in decode_ceiling(needs, gpu)] if generates else ["", ""]
        yield _ROW.format(gpu.name, found.count, size(found.spare_bytes), *speeds).rstrip()
    if generates:
        yield "  Tokens a second are a ceiling: memory that is read for each, over the GPU's bandwidth."


def decode_ceiling(needs: Needs, gpu: Gpu) -> tuple[float, float]:
    """Tokens a second that memory bandwidth allows: of one text, and of a full batch together.

    Parts of a model on several GPUs take turns, so that more of them are no faster.
    """
    bandwidth, cache = gpu.bandwidth_gb_s * 1e9, needs.cache or 0
    one = bandwidth / (needs.weights.per_token + cache / needs.rows)
    return one, needs.rows * bandwidth / (needs.weights.per_token + cache)


def _smallest(needs: Needs) -> Gpu | None:
    by_memory = sorted(dict.fromkeys(KNOWN.values()), key=lambda gpu: gpu.memory_gib)
    for most in (1, 8):
        for gpu in by_memory:
            count = needs.fit(gpu).count
            if count is not None and count <= most:
                return gpu
    return None


def _map(model: ModelNeeds, needs: Needs, gpu: Gpu | None) -> Iterator[str]:
    count = needs.fit(gpu).count if gpu is not None else None
    if gpu is None or not count or count == 1:
        return
    yield ""
    yield f"  device_map   auto over {count} x {gpu.name}:"
    kind = model.config.device_map if isinstance(model.config.device_map, str) else "auto"
    parts: dict[Any, list[str]] = {}
    for part, device in device_map(model.empty(), count, gpu.usable_bytes, kind).items():
        parts.setdefault(device, []).append(part)
    for device, names in parts.items():
        shown = ", ".join(names) if len(names) <= 4 else f"{names[0]}, {names[1]} ... {names[-1]} ({len(names)} parts)"
        yield f"    {device}: {shown}"


def _paste(config: ModelConfig, needs: Needs, gpu: Gpu | None) -> Iterator[str]:
    import yaml

    model = config.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    count = needs.fit(gpu).count if gpu is not None else None
    if gpu is not None and count is None:
        yield f"  # eight {gpu.name} do not hold it: quantise it, or let parts of it lie in main memory, which is slow"
    if gpu is not None:
        resources = {**model.get("resources", {}), "num_gpus": count or 8}
        model["resources"] = resources
        if resources["num_gpus"] > 1 and config.device_map is None:
            model["device_map"] = "auto"
    text = yaml.safe_dump([model], sort_keys=False, default_flow_style=None, width=100)
    yield from (f"  {line}" for line in text.splitlines())
