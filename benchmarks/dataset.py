"""A dataset of texts of mixed length: the local pipeline over ``KeyDataset``, ``graph.pipeline``, and a job."""

import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks import data, models, server
from benchmarks.comparison import MODEL, local_name, same
from benchmarks.errors import BenchmarkError
from benchmarks.report import Goal, Outcome, Record
from benchmarks.settings import Settings

_COUNT = 2000
_BATCH_SIZES = (1, 4, 8, 32)
_TASK = "text-classification"
_SERVED = "for out in graph.pipeline(dataset)"
_SAMPLE = 20
_ROWS_PER_S = re.compile(r"([0-9.]+) rows/s")


def make(settings: Settings) -> "DatasetPart":
    """The part ``dataset``."""
    return DatasetPart(settings)


class DatasetPart:
    """Rows per second of a whole dataset; the job's are counted from when its first worker is ready.

    Args:
        settings: how often and how.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.record = Record()
        count = settings.count(_COUNT)
        self._texts, self._lengths = data.texts(models.minilm_words(), count, settings.seed)
        self._model = models.text_classifier(settings.seed)
        self._workers = sorted({1, settings.replicas})
        self._sample = sorted(random.Random(settings.seed).sample(range(count), min(_SAMPLE, count)))

    def run(self) -> Outcome:
        """Measure everything, answers compared.

        Raises:
            BenchmarkError: a server did not start, a job failed, or an answer differs from the local one.
        """
        import transformers

        local: Any = transformers.pipeline(_TASK, model=str(self._model), device="cpu")
        self._expected = {number: local(self._texts[number])[0] for number in self._sample}
        steps = (len(_BATCH_SIZES) + 1 + len(self._workers)) * self.settings.repeats
        with tqdm(total=steps, desc="dataset", unit="measure") as bar:
            for _ in range(self.settings.repeats):
                for size in _BATCH_SIZES:
                    self._measure(local_name(size), local, bar, batch_size=size)
                self._measure_served(bar)
                for workers in self._workers:
                    self._measure_job(workers, bar)
        facts = {
            "count": len(self._texts),
            "model": self._model.name,
            "median_tokens": statistics.median(self._lengths),
            "longest_tokens": max(self._lengths),
        }
        return Outcome("dataset", "rows", self.settings, facts, self.record, self.goals())

    def _measure(self, name: str, pipe: Any, bar: Any, **options: Any) -> None:
        """One pass of a pipeline, local or served, over ``KeyDataset``."""
        from transformers.pipelines.pt_utils import KeyDataset

        rows: Any = KeyDataset([{"text": text} for text in self._texts], "text")
        bar.set_postfix_str(name)
        started = time.perf_counter()
        answers = list(pipe(rows, **options))
        self.record.add(name, per_s=len(answers) / (time.perf_counter() - started))
        self._compare(name, answers)
        bar.update()

    def _measure_served(self, bar: Any) -> None:
        import graph

        served = {"name": MODEL, "task": _TASK, "model": str(self._model), "device": "cpu", **server.COMPUTED}
        served |= {"scale": {"min_replicas": self.settings.replicas}, "resources": {"num_cpus": self.settings.num_cpus}}
        with server.project([served]) as url:
            pipe = graph.pipeline(_TASK, MODEL, url=url)
            pipe(self._texts[:64])  # replicas learn what a forward costs
            self._measure(_SERVED, pipe, bar)

    def _measure_job(self, workers: int, bar: Any) -> None:
        """The command, in a process and a Ray of its own."""
        name = _job_name(workers)
        bar.set_postfix_str(name)
        with tempfile.TemporaryDirectory(prefix="pipeline-graph-bench-") as folder:
            source = Path(folder, "in.jsonl")
            lines = (json.dumps({"id": number, "text": text}) for number, text in enumerate(self._texts))
            source.write_text("".join(f"{line}\n" for line in lines))
            command = (
                f"-m cluster.cli batch --task {_TASK} --model {self._model} --input {source} --output {folder}/out "
            )
            command += f"--output-format jsonl --replicas {workers} --num-cpus {self.settings.num_cpus}"
            started = time.perf_counter()
            done = subprocess.run([sys.executable, *command.split()], capture_output=True, text=True)
            wall_s = time.perf_counter() - started
            found = _ROWS_PER_S.search(done.stdout)
            if done.returncode or found is None:
                raise BenchmarkError(f"{name} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
            self.record.add(name, per_s=float(found[1]), with_start_s=wall_s)
            self._compare(name, self._written(Path(folder, "out")))
        bar.update()

    def _written(self, folder: Path) -> list[Any]:
        rows = [json.loads(line) for part in folder.glob("part-*") for line in part.read_text().splitlines()]
        return [row["prediction"] for row in sorted(rows, key=lambda row: row["id"])]

    def _compare(self, name: str, answers: list[Any]) -> None:
        if len(answers) != len(self._texts):
            raise BenchmarkError(f"{name}: {len(answers)} answers to {len(self._texts)} rows")
        for number, expected in self._expected.items():
            if not same(answers[number], expected):
                raise BenchmarkError(f"{name}: row {number} got {answers[number]}, locally {expected}")

    def goals(self) -> list[Goal]:
        """Against the best batch size, and more workers against one."""
        best = self.record.best(map(local_name, _BATCH_SIZES))
        most = max(self._workers)
        goals = [
            self._ratio(f"{name} / best local ({best})", name, best, at_least=1.5)
            for name in (_SERVED, _job_name(most))
        ]
        if most > 1:
            goals.append(
                self._ratio(f"{most} workers / one", _job_name(most), _job_name(1), at_least=1.8 if most == 2 else None)
            )
        return goals

    def _ratio(self, name: str, over: str, under: str, at_least: float | None) -> Goal:
        pairs: Iterable[tuple[float, float]] = zip(
            self.record.values(over, "per_s"), self.record.values(under, "per_s"), strict=True
        )
        return Goal(name, [upper / lower for upper, lower in pairs], at_least=at_least)


def _job_name(workers: int) -> str:
    return f"job, {workers} worker{'s' * (workers > 1)}"
