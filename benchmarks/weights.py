"""The same model from a GGUF file, from a plain copy of its weights, and in bfloat16: tokens a second of greedy text.

One process and no server: what differs is how the weights came in, and so how they lie in memory.
"""

import time
from typing import Any

import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks.report import Goal, Outcome, Record
from benchmarks.settings import Settings
from embedded.cache import prepare
from embedded.catalog import MODELS

_MODEL = "smollm2-135m-instruct"
_GGUF, _PLAIN, _HALF = "GGUF file, unpacked", "plain copy", "plain copy, bfloat16"
_TOKENS = 48
_ROWS = (1, 8)


class Weights:
    """The part ``weights``.

    Args:
        settings: how often; torch runs ``replicas`` times ``num_cpus`` threads.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.record = Record()

    def run(self) -> Outcome:
        """Measure everything, the kinds of weights in turn."""
        torch.set_num_threads(max(1, int(self.settings.replicas * self.settings.num_cpus)))
        pipes = _load_all()
        steps = [(name, rows) for _ in range(self.settings.repeats) for rows in _ROWS for name in pipes]
        for name, rows in tqdm(steps, desc="weights", unit="measure"):
            self.record.add(_measure(name, rows), tokens_per_s=_rate(pipes[name], rows, self.settings.count(_TOKENS)))
        return Outcome("weights", "texts", self.settings, {"model": _MODEL}, self.record, self._goals())

    def _goals(self) -> list[Goal]:
        return [
            Goal(f"{name} / {_PLAIN}, {rows} rows", self._ratios(name, rows), at_least=least)
            for name, least in ((_GGUF, 0.95), (_HALF, 1.0))
            for rows in _ROWS
        ]

    def _ratios(self, name: str, rows: int) -> list[float]:
        over, under = (self.record.values(_measure(one, rows), "tokens_per_s") for one in (name, _PLAIN))
        return [mine / plain for mine, plain in zip(over, under, strict=True)]


def make(settings: Settings) -> Weights:
    """The part on weights."""
    return Weights(settings)


def _load_all() -> dict[str, Any]:
    from deployments.config import ModelConfig
    from deployments.load import load

    spec, plain = MODELS[_MODEL], str(prepare([_MODEL])[_MODEL])
    sources = {
        _GGUF: (f"package:{spec.module}/{spec.data}", "auto"),
        _PLAIN: (plain, "auto"),
        _HALF: (plain, "bfloat16"),
    }
    return {
        name: load(ModelConfig(name="m", task="text-generation", model=source, dtype=dtype, device="cpu")).pipe  # type: ignore[arg-type]
        for name, (source, dtype) in sources.items()
    }


def _rate(pipe: Any, rows: int, count: int) -> float:
    """Tokens a second of so many equal rows that write ``count`` tokens each."""
    ids = pipe.tokenizer("The library opens at nine, and", return_tensors="pt")["input_ids"].repeat(rows, 1)
    mask = torch.ones_like(ids)

    def write(tokens: int) -> None:
        pipe.model.generate(ids, attention_mask=mask, do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens)

    write(4)
    started = time.perf_counter()
    write(count)
    return rows * count / (time.perf_counter() - started)


def _measure(name: str, rows: int) -> str:
    return f"{name}, {rows} row{'s' * (rows > 1)}"
