"""What was measured → a JSON file, a Markdown table, and the same table as text."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.settings import Settings

_PACKAGES = ("pipeline-graph", "ray", "torch", "transformers", "tokenizers", "starlette", "aiohttp", "numpy", "pillow")
_COLUMNS = {
    "tokens_per_s": "tokens/s",
    "first_ms": "first token ms",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "around_ms": "around the model ms",
    "mean_batch": "mean batch",
}


class Record:
    """Figures by measure and metric, one for each repetition."""

    def __init__(self) -> None:
        self.measures: dict[str, dict[str, list[float]]] = {}

    def add(self, name: str, **figures: float) -> None:
        """Add the figures of one repetition of a measure."""
        metrics = self.measures.setdefault(name, {})
        for metric, value in figures.items():
            metrics.setdefault(metric, []).append(value)

    def values(self, name: str, metric: str) -> list[float]:
        """A metric of each repetition."""
        return self.measures[name][metric]

    def best(self, names: Iterable[str]) -> str:
        """The measure with the highest median rate."""
        return max(names, key=lambda name: statistics.median(self.values(name, "per_s")))


@dataclass(frozen=True)
class Goal:
    """A ratio and what it should be.

    Args:
        name: what is divided by what.
        values: of each repetition; their median counts.
        at_least, at_most: the bound, if there is one.
    """

    name: str
    values: list[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether it is as it should be; None without a bound."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    def row(self) -> list[str]:
        """Cells of the table of ratios."""
        bound = f"≥ {self.at_least:g}" if self.at_least is not None else ""
        bound = f"≤ {self.at_most:g}" if self.at_most is not None else bound
        return [self.name, _spread(self.values, 2), bound, {True: "met", False: "**missed**", None: ""}[self.met]]


@dataclass(frozen=True)
class Outcome:
    """All that one part found."""

    part: str
    unit: str
    settings: Settings
    data: dict[str, Any]
    record: Record
    goals: list[Goal] = field(default_factory=list)


def save(outcome: Outcome, folder: Path) -> str:
    """Write ``PART.json`` and ``PART.md`` into ``folder``; returns the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = machine()
    content = {
        "part": outcome.part,
        "unit": outcome.unit,
        "machine": facts,
        "settings": {**asdict(outcome.settings), "output": None},
        "data": outcome.data,
        "measures": {
            name: {metric: _summary(values) for metric, values in metrics.items()}
            for name, metrics in outcome.record.measures.items()
        },
        "ratios": [{**asdict(goal), **_summary(goal.values), "met": goal.met} for goal in outcome.goals],
    }
    (folder / f"{outcome.part}.json").write_text(json.dumps(content, indent=2) + "\n")
    text = markdown(outcome, facts)
    (folder / f"{outcome.part}.md").write_text(text)
    return text


def machine() -> dict[str, Any]:
    """The machine, the versions, the date, and the settings of Ray Serve in the environment."""
    import torch

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "commit": _commit(),
        "versions": {package: version(package) for package in _PACKAGES},
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith("RAY_SERVE_")},
    }


def markdown(outcome: Outcome, facts: dict[str, Any]) -> str:
    """The tables, with a line on how they came about."""
    settings, versions = outcome.settings, facts["versions"]
    rows = [[name, *_cells(metrics)] for name, metrics in outcome.record.measures.items()]
    data = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in outcome.data.items())
    environment = ", ".join(f"{name}={value}" for name, value in facts["environment"].items()) or "none set"
    how = (
        f"Median (lowest to highest) of {settings.repeats} repetitions; {facts['cpu_count']} CPUs ({facts['cpu']}), "
        f"the local pipeline with {facts['torch_threads']} torch threads, {settings.replicas} replica(s) with num_cpus "
        f"{settings.num_cpus:g}; torch {versions['torch']}, transformers {versions['transformers']}, ray "
        f"{versions['ray']}; {facts['date']}, commit {facts['commit']}. Data: {data}; seed {settings.seed}. "
        f"RAY_SERVE_*: {environment}."
    )
    measures = _table(["measure", f"{outcome.unit}/s", *_COLUMNS.values()], rows)
    ratios = _table(["ratio", "value", "goal", ""], [goal.row() for goal in outcome.goals]) if outcome.goals else []
    return "\n".join([f"## {outcome.part}", "", how, "", *measures, "", *ratios, ""])


def _cells(metrics: dict[str, list[float]]) -> list[str]:
    rate = _spread(metrics["per_s"], 1) if "per_s" in metrics else ""
    return [rate, *(_spread(metrics[metric], 1) if metric in metrics else "" for metric in _COLUMNS)]


def _table(head: list[str], rows: Sequence[list[str]]) -> list[str]:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _spread(values: list[float], digits: int) -> str:
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _summary(values: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "values": values}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _commit() -> str:
    """The commit that is checked out, ``+`` behind it if files were changed; empty outside of git."""
    root = Path(__file__).parents[1]
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=root, capture_output=True, text=True
        )
    except OSError:
        return ""
    return found.stdout.strip()
