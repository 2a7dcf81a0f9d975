"""The loop of every part: the local pipeline and the project in turn, again and again, answers compared at the end."""

import json
import random
import statistics
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks import server
from benchmarks.data import body
from benchmarks.errors import BenchmarkError
from benchmarks.load import Load, Plan, drive
from benchmarks.local import LocalPipeline
from benchmarks.report import Goal, Outcome, Record
from benchmarks.settings import Settings

MODEL = "measured"
"""Name of the served model."""
_SAMPLE = 20
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Part:
    """What one part measures.

    Args:
        name: of the part.
        task: of ``pipeline()``.
        model: folder of the checkpoint.
        unit: what an input is called, in the plural.
        inputs: makes the local pipeline's inputs anew, since an opened image remembers that it was decoded.
        sent: what goes into the request bodies: text, or the bytes of a file.
        parameters: of every call, on both sides.
        batch_sizes: of the local pipeline.
        clients: how many at a time, fewer than there are inputs → times that all inputs are sent; more for more, so
            that they are busy for long enough beside the moments when the first wait and the last are alone.
        facts: of the data, for the results.
    """

    name: str
    task: str
    model: Path
    unit: str
    inputs: Callable[[], list[Any]]
    sent: list[Any]
    parameters: dict[str, Any]
    batch_sizes: tuple[int, ...]
    clients: dict[int, int]
    facts: dict[str, Any] = field(default_factory=dict)


class Comparison:
    """Measures one part.

    Args:
        part: what is measured.
        settings: how often and how.
    """

    def __init__(self, part: Part, settings: Settings) -> None:
        assert max(part.clients) < len(part.sent), "equal inputs would be under way at once"
        self.part = part
        self.settings = settings
        self.record = Record()
        self._bar: Any = None
        self._bodies = Path()
        self._expected: dict[int, Any] = {}
        self._answers: list[tuple[str, dict[int, Any]]] = []
        picked = random.Random(settings.seed).sample(range(len(part.sent)), min(_SAMPLE, len(part.sent)))
        self.sample = tuple(sorted(picked))

    @property
    def steps(self) -> int:
        """Measures in one repetition."""
        return len(self.part.batch_sizes) + len(self.part.clients)

    def run(self) -> Outcome:
        """Measure everything, and make sure that the answers were right.

        Raises:
            BenchmarkError: a server did not start, a request failed, or an answer differs from the local one.
        """
        with (
            tempfile.TemporaryDirectory(prefix="pipeline-graph-bench-") as folder,
            tqdm(total=self.steps * self.settings.repeats, desc=self.part.name, unit="measure") as self._bar,
        ):
            self._bodies = self.write(Path(folder, "bodies"), self.part.sent)
            self.pipe = LocalPipeline(self.part.task, self.part.model, self.part.parameters)
            self.pipe.warm_up(self.part.inputs()[:4])
            for _ in range(self.settings.repeats):
                self.measure_local()
                self.measure_served()
                self._compare()
        return Outcome(self.part.name, self.part.unit, self.settings, self._facts(), self.record, self.goals())

    def measure_local(self) -> None:
        """The local pipeline with each batch size; no server is up."""
        for size in self.part.batch_sizes:
            with self.step(local_name(size)) as name:
                self.record.add(name, per_s=self.pipe.rate(self.part.inputs(), size))

    def measure_served(self) -> None:
        """The project with each number of clients."""
        with server.project([self.served_model()]) as url:
            self.measure_clients(f"{url}/models/{MODEL}")

    def measure_clients(self, url: str) -> None:
        """Closed loops of each number of clients; warmed up before each."""
        for clients, passes in self.part.clients.items():
            with self.step(served_name(clients)) as name:
                self.add_load(name, self.load(url, clients, passes))

    def served_model(self) -> dict[str, Any]:
        """The model in the project's configuration."""
        made = {
            "name": MODEL,
            "task": self.part.task,
            "model": str(self.part.model),
            "device": "cpu",
            "parameters": self.part.parameters,
            "scale": {"min_replicas": self.settings.replicas},
            "resources": {"num_cpus": self.settings.num_cpus},
            **server.COMPUTED,
        }
        return made if self.settings.max_items is None else {**made, "batch": {"max_items": self.settings.max_items}}

    def load(self, url: str, clients: int, passes: int = 1, long: Path | None = None) -> Load:
        """Drive ``clients`` against ``url`` with this part's bodies."""
        warm_up = min(len(self.part.sent), 2 * clients)
        return drive(Plan(url, str(self._bodies), clients, passes, warm_up, self.sample, str(long) if long else None))

    def add_load(self, name: str, load: Load, check: bool = True) -> None:
        """Record what a load found, and keep its answers for `_compare`."""
        if not load.latencies_s:
            raise BenchmarkError(f"{name}: no request was answered in the time: choose a larger --scale")
        p50, p95, p99 = (float(value) * 1000 for value in np.percentile(load.latencies_s, [50, 95, 99]))
        figures = {"per_s": len(load.latencies_s) / load.wall_s, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}
        if load.batch_sizes:  # each batch counted once, not once for each request in it
            figures["mean_batch"] = len(load.batch_sizes) / sum(1 / size for size in load.batch_sizes)
        self.record.add(name, **figures, client_cpu_share=load.cpu_s / load.wall_s)
        if check:
            self._answers.append((name, {number: json.loads(text) for number, text in load.kept.items()}))

    def step(self, name: str) -> "_Step":
        """One measure, on the progress bar."""
        return _Step(name, self._bar)

    def add_answers(self, name: str, answers: dict[int, Any]) -> None:
        """Answers that `_compare` shall look at too."""
        self._answers.append((name, answers))

    def _compare(self) -> None:
        """Compare the sampled answers with local ones, now that no server is up."""
        inputs = self.part.inputs()
        for name, answers in self._answers:
            for number, answer in answers.items():
                if number not in self._expected:
                    self._expected[number] = self.pipe.answer(inputs[number])
                if not same(answer, self._expected[number]):
                    raise BenchmarkError(f"{name}: input {number} got {answer}, locally {self._expected[number]}")
        self._answers.clear()

    def goals(self) -> list[Goal]:
        """Ratios of interest; without a bound here."""
        best = self.record.best(map(local_name, self.part.batch_sizes))
        most = max(self.part.clients)
        return [self.ratio(f"{most} clients / best local ({best})", served_name(most), best)]

    def ratio(self, name: str, over: str, under: str, metric: str = "per_s", **bound: float) -> Goal:
        """Ratio of two measures, repetition by repetition; the bound is ``at_least`` or ``at_most``."""
        pairs = zip(self.record.values(over, metric), self.record.values(under, metric), strict=True)
        return Goal(name, [upper / lower for upper, lower in pairs], **bound)

    def _facts(self) -> dict[str, Any]:
        sizes = [len(body(sent)) for sent in self.part.sent]
        model = str(self.part.model.name)
        return {"count": len(sizes), "model": model, "median_body_bytes": statistics.median(sizes), **self.part.facts}

    @staticmethod
    def write(path: Path, sent: Iterable[Any]) -> Path:
        """One request body a line."""
        path.write_text("".join(f"{body(one)}\n" for one in sent))
        return path


class _Step:
    """Names the measure on the progress bar, and counts it when it is done."""

    def __init__(self, name: str, bar: Any) -> None:
        self._name = name
        self._bar = bar

    def __enter__(self) -> str:
        self._bar.set_postfix_str(self._name)
        return self._name

    def __exit__(self, *_: object) -> None:
        self._bar.update()


def local_name(batch_size: int) -> str:
    """Name of a measure of the local pipeline."""
    return f"local, batch size {batch_size}"


def served_name(clients: int) -> str:
    """Name of a measure of the project."""
    return f"project, {clients} client{'s' * (clients > 1)}"


def same(served: Any, local: Any) -> bool:
    """Whether two answers agree: words and structure exactly, numbers within 1e-4; ``[x]`` stands for ``x``."""
    while isinstance(served, list) and len(served) == 1:
        served = served[0]
    while isinstance(local, list) and len(local) == 1:
        local = local[0]
    if isinstance(served, dict) and isinstance(local, dict):
        return served.keys() == local.keys() and all(same(served[key], local[key]) for key in served)
    if isinstance(served, list) and isinstance(local, list):
        return len(served) == len(local) and all(map(same, served, local))
    if isinstance(served, float) and isinstance(local, float):
        return abs(served - local) <= _TOLERANCE
    return bool(served == local)
