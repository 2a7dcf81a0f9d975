"""Texts: also against sorted data, Ray's plain example, the bare call and the empty round trip, and beside a list."""

import itertools
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import data, models, server
from benchmarks.comparison import MODEL, Comparison, Part, local_name, served_name
from benchmarks.load import Load
from benchmarks.report import Goal
from benchmarks.settings import Settings

_COUNT, _LIST_COUNT = 200, 2000
_EMPTY = "empty"  # the served model that does nothing
_MANY = 64  # clients
_FEW = 4  # clients beside a list
_BARE, _ROUND_TRIP = "local, one call per text", "project, empty model, 1 client"
_PLAIN, _ROOMY = f"@serve.batch example, {_MANY} clients", f"the same, max_ongoing_requests {server.ROOMY}"


def make(settings: Settings) -> "TextComparison":
    """The comparison on texts of mixed length."""
    texts, lengths = data.texts(models.minilm_words(), settings.count(_COUNT, _MANY), settings.seed)
    part = Part(
        name="text",
        task="text-classification",
        model=models.text_classifier(settings.seed),
        unit="texts",
        inputs=lambda: list(texts),
        sent=texts,
        parameters={},
        batch_sizes=(1, 4, 8, 32),
        clients={1: 1, 16: 2, _MANY: 3},
        facts={"median_tokens": statistics.median(lengths), "longest_tokens": max(lengths)},
    )
    by_length = [text for _, text in sorted(zip(lengths, texts, strict=True))]
    return TextComparison(part, settings, by_length)


class TextComparison(Comparison):
    """What only texts are measured with.

    Args:
        part: what is measured.
        settings: how often and how.
        by_length: the texts, shortest first.
    """

    def __init__(self, part: Part, settings: Settings, by_length: list[str]) -> None:
        super().__init__(part, settings)
        self._by_length = by_length
        self._list_count = settings.count(_LIST_COUNT)
        self._beside = f"project, {_FEW} clients beside a list of {self._list_count}"

    @property
    def steps(self) -> int:
        """Measures in one repetition."""
        return super().steps + len(self.part.batch_sizes) + len((_BARE, _ROUND_TRIP, _PLAIN, _ROOMY)) + 2

    def measure_local(self) -> None:
        """As given, sorted by length, and one call per text."""
        super().measure_local()
        for size in self.part.batch_sizes:
            with self.step(_sorted_name(size)) as name:
                self.record.add(name, per_s=self.pipe.rate(self._by_length, size))
        with self.step(_BARE) as name:
            latencies = self.pipe.latencies(self.part.inputs())
            self.record.add(name, per_s=len(latencies) / sum(latencies), p50_ms=statistics.median(latencies) * 1000)

    def measure_served(self) -> None:
        """The project and its empty model, then Ray's example."""
        empty = {"name": _EMPTY, "task": "fake", "resources": {"num_cpus": 0}}
        with server.project([self.served_model(), empty], max_list_items=self._list_count) as url:
            with self.step(_ROUND_TRIP) as name:
                self.add_load(name, self.load(f"{url}/models/{_EMPTY}", 1), check=False)
            self.measure_clients(f"{url}/models/{MODEL}")
            self._measure_beside_list(f"{url}/models/{MODEL}")
        with server.serve_batch(self.part.model, self.settings) as url:
            for route, title in (("plain", _PLAIN), ("roomy", _ROOMY)):
                with self.step(title) as name:
                    self.add_load(name, self.load(f"{url}/{route}", _MANY))

    def _measure_beside_list(self, url: str) -> None:
        """Single requests alone, and while another client's list is under way."""
        with self.step(served_name(_FEW)) as name:
            self.add_load(name, self.load(url, _FEW, passes=2))
        texts = list(itertools.islice(itertools.cycle(self.part.sent), self._list_count))
        with self.step(self._beside) as name, tempfile.TemporaryDirectory() as folder:
            load = self.load(url, _FEW, long=self.write(Path(folder, "list"), [texts]))
            self.add_load(name, load)
            self._add_list(load, name)

    def _add_list(self, load: Load, name: str) -> None:
        answers: list[Any] = json.loads(load.list_answer)
        assert len(answers) == self._list_count, f"{len(answers)} answers to a list of {self._list_count}"
        self.record.add("project, that list itself", per_s=self._list_count / load.list_s)
        self.add_answers(f"{name}, in the list", {number: answers[number] for number in self.sample})

    def goals(self) -> list[Goal]:
        """The ratios that the project promises."""
        many = served_name(_MANY)
        best = self.record.best(map(local_name, self.part.batch_sizes))
        ceiling = self.record.best(map(_sorted_name, self.part.batch_sizes))
        beside = self.ratio(f"p95 of {_FEW} clients beside the list / alone", self._beside, served_name(_FEW), "p95_ms")
        return [
            self.ratio(f"{_MANY} clients / best local ({best})", many, best, at_least=1.5),
            self.ratio(f"{_MANY} clients / best sorted ({ceiling})", many, ceiling, at_least=0.85),
            self.ratio(f"{_MANY} clients / @serve.batch example", many, _PLAIN, at_least=5),
            self.ratio(f"{_MANY} clients / the example, max_ongoing_requests {server.ROOMY}", many, _ROOMY),
            Goal("p50 of 1 client / (bare call + empty round trip)", self._overheads(), at_most=1.3),
            beside,
        ]

    def _overheads(self) -> list[float]:
        medians = [self.record.values(name, "p50_ms") for name in (served_name(1), _BARE, _ROUND_TRIP)]
        return [served / (bare + empty) for served, bare, empty in zip(*medians, strict=True)]


def _sorted_name(batch_size: int) -> str:
    return f"local, sorted by length, batch size {batch_size}"
