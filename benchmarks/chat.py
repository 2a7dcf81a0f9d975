"""Streamed chats with SmolLM2: the project against ``transformers serve``, plain and with its continuous batching.

Greedy on every side, the same prompts with the same ``max_tokens``. Tokens are counted in the text that came, by the
model's tokenizer, so that no server's own counting is trusted.
"""

import random
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks import server
from benchmarks.chat_load import Answer, Plan, drive
from benchmarks.errors import BenchmarkError
from benchmarks.report import Goal, Outcome, Record
from benchmarks.settings import Settings
from embedded.cache import prepare

MODEL = "smollm2-135m-instruct"
_CLIENTS = {1: 4, 8: 24, 32: 64}  # at a time → chats in all at scale 1
_TOKENS = (16, 32, 64, 96)  # of the answers, in turn
_TOPICS = ("rivers", "the moon", "bread", "a small house", "the library", "winter", "trains", "music", "a sailing trip")
OURS, PLAIN, CONTINUOUS = "the project", "transformers serve", "transformers serve --continuous-batching"


class Chats:
    """The part ``chat``.

    Args:
        settings: ``scale`` is of the number of chats; ``num_cpus`` and ``replicas`` of the project's model.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.record = Record()
        self.model = prepare([MODEL])[MODEL]
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(self.model)
        self._texts: dict[str, dict[int, str]] = {}

    def run(self) -> Outcome:
        """Measure everything.

        Raises:
            BenchmarkError: a server did not start, or a chat failed.
        """
        servers: dict[str, Callable[[], AbstractContextManager[str]]] = {
            PLAIN: lambda: server.transformers_serve(self.model),
            CONTINUOUS: lambda: server.transformers_serve(self.model, "--continuous-batching"),
            OURS: lambda: server.project([self._served()]),
        }
        steps = [(name, start) for _ in range(self.settings.repeats) for name, start in servers.items()]
        for name, start in tqdm(steps, desc="chat", unit="server"):
            with start() as url:
                drive(self._plan(url, name, 2, 2))
                for clients, count in _CLIENTS.items():
                    plan = self._plan(url, name, clients, self.settings.count(count))
                    self._add(name, clients, *drive(plan))
        data = {"model": MODEL, "max_tokens": list(_TOKENS), "same texts": self._agreement()}
        return Outcome("chat", "chats", self.settings, data, self.record, self._goals())

    def _served(self) -> dict[str, Any]:
        return {
            "name": MODEL,
            "task": "text-generation",
            "model": str(self.model),
            "device": "cpu",
            "scale": {"min_replicas": self.settings.replicas},
            "resources": {"num_cpus": self.settings.num_cpus},
            **server.COMPUTED,
        }

    def _plan(self, url: str, name: str, clients: int, count: int) -> Plan:
        draw = random.Random(self.settings.seed)
        bodies = []
        for number in range(count):
            about = " and ".join(draw.sample(_TOPICS, draw.randint(1, 4)))
            bodies.append(
                {
                    "model": MODEL if name == OURS else str(self.model),
                    "messages": [{"role": "user", "content": f"Write a long text about {about}."}],
                    "max_tokens": _TOKENS[number % len(_TOKENS)],
                    "temperature": 0,
                    "stream": True,
                }
            )
        return Plan(f"{url}/v1/chat/completions", bodies, clients)

    def _add(self, name: str, clients: int, answers: list[Answer], wall_s: float) -> None:
        if not all(answer.text for answer in answers):
            raise BenchmarkError(f"{name}: a chat has no text")
        tokens = sum(len(self._tokenizer(answer.text)["input_ids"]) for answer in answers)
        self.record.add(
            measure(name, clients),
            per_s=len(answers) / wall_s,
            tokens_per_s=tokens / wall_s,
            first_ms=statistics.median(answer.first_s for answer in answers) * 1000,
            p50_ms=statistics.median(answer.whole_s for answer in answers) * 1000,
        )
        self._texts.setdefault(name, {}).update({answer.number: answer.text for answer in answers})

    def _agreement(self) -> dict[str, str]:
        """How many chats had the very text that `PLAIN` gave."""
        want = self._texts[PLAIN]
        return {
            name: f"{sum(texts[number] == want[number] for number in texts)} of {len(texts)}"
            for name, texts in self._texts.items()
        }

    def _goals(self) -> list[Goal]:
        most = max(_CLIENTS)
        return [
            self._ratio("tokens/s", "tokens_per_s", other, clients, at_least=least)
            for other in (PLAIN, CONTINUOUS)
            for clients, least in ((most, 2.0), (1, 1.0))
        ] + [self._ratio("time to first token", "first_ms", other, 1, at_most=1.0) for other in (PLAIN, CONTINUOUS)]

    def _ratio(self, what: str, metric: str, other: str, clients: int, **bound: float) -> Goal:
        ours, theirs = (self.record.values(measure(name, clients), metric) for name in (OURS, other))
        values = [mine / his for mine, his in zip(ours, theirs, strict=True)]
        return Goal(f"{what}, {clients} clients / {other}", values, **bound)


def measure(name: str, clients: int) -> str:
    """Name of one measure."""
    return f"{name}, {clients} client{'s' * (clients > 1)}"


def make(settings: Settings) -> Chats:
    """The part on chats."""
    return Chats(settings)
