"""Figures of each model out of what Ray's nodes export to Prometheus: for ``pipeline-graph status``. Pure."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "ray_pipeline_graph_"
Buckets = dict[float, float]
"""Of a histogram: upper bound → observations up to it."""


@dataclass(frozen=True)
class Figures:
    """One model, all its replicas together, since they started; None where nothing is known.

    Args:
        requests: answered by the router.
        waiting: in the replicas.
        p50_s, p95_s: from a request to the end of its answer.
        batch_size: mean.
        padding_waste: mean, in [0, 1).
        memory_bytes: of the processes, and reserved on GPUs.
        weight_bytes: of the weights; None for a model that is in no replica's memory.
    """

    requests: int = 0
    waiting: int | None = None
    p50_s: float | None = None
    p95_s: float | None = None
    batch_size: float | None = None
    padding_waste: float | None = None
    memory_bytes: int | None = None
    weight_bytes: int | None = None


def figures(scraped: Iterable[str]) -> dict[str, Figures]:
    """Figures by model.

    Args:
        scraped: the text of every node's endpoint.
    """
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    buckets: dict[str, Buckets] = defaultdict(lambda: defaultdict(float))
    for text in scraped:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                model = sample.labels.get("model")
                if model is None or not sample.name.startswith(PREFIX):
                    continue
                name = sample.name.removeprefix(PREFIX)
                if name == "request_seconds_bucket":
                    buckets[model][float(sample.labels["le"])] += sample.value
                else:
                    sums[model][name] += sample.value
    return {model: _of(sums[model], buckets.get(model, {})) for model in sums}


def _of(sums: Mapping[str, float], buckets: Buckets) -> Figures:
    def whole(name: str) -> int | None:
        return round(sums[name]) if name in sums else None

    def mean(name: str) -> float | None:
        count = sums.get(f"{name}_count", 0)
        return sums[f"{name}_sum"] / count if count else None

    return Figures(
        requests=whole("requests_total") or 0,
        waiting=whole("waiting"),
        p50_s=quantile(buckets, 0.5),
        p95_s=quantile(buckets, 0.95),
        batch_size=mean("batch_size"),
        padding_waste=mean("batch_padding_waste"),
        memory_bytes=whole("memory_bytes"),
        weight_bytes=whole("weight_bytes"),
    )


def quantile(buckets: Buckets, share: float) -> float | None:
    """The value under which ``share`` of the observations lie, linear within a bucket, as Prometheus computes it.

    Of 4 observations up to 1 s and 4 more up to 2 s, the quantile 0.75 is 1.5 s. None without observations; the highest
    finite bound for what lies above it.
    """
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    rank, below, counted = share * buckets[bounds[-1]], 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if math.isinf(bound):
                return below
            return below + (bound - below) * (rank - counted) / (buckets[bound] - counted)
        below, counted = bound, buckets[bound]
    return below
