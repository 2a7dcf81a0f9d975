"""What only a GPU shows; skipped without one."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from deployments.footprint import weights
from tests.engine.conftest import Served
from tests.large.models import TEXTS, config, llama, loaded

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU in this machine"),
    pytest.mark.timeout(600),
]
GPU = {"num_gpus": 1}
GREEDY = {"max_new_tokens": 16, "do_sample": False}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of some 100 million parameters, so that its arithmetic fills a GPU a little."""
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 6}
    return llama(tmp_path_factory.mktemp("gpu-llama"), **sizes)


@pytest.fixture
def little_memory() -> Iterator[None]:
    torch.cuda.set_per_process_memory_fraction(0.05)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def _logits(pipe: Any) -> Any:
    with torch.no_grad():
        found = [pipe.model(**pipe.tokenizer(text, return_tensors="pt").to("cuda")).logits[0].float() for text in TEXTS]
    return torch.cat(found)


@pytest.mark.parametrize(("bits", "least"), [("8bit", 0.99), ("4bit", 0.9)])
def test_fewer_bits_of_a_bfloat16_model(model: Path, bits: str, least: float) -> None:
    full = loaded(model, dtype="bfloat16", resources=GPU)
    pipe = loaded(model, dtype="bfloat16", resources=GPU, quantization=bits)
    assert pipe.device.type == "cuda"
    cosine = torch.nn.functional.cosine_similarity(_logits(pipe), _logits(full), dim=-1).mean()
    assert least < float(cosine) < 1 - 1e-6
    assert weights(pipe.model)["weight_bytes"] < 0.7 * weights(full.model)["weight_bytes"]


def test_a_map_over_the_gpu_the_cpu_and_the_disk(model: Path) -> None:
    whole = loaded(model, dtype="float32", resources=GPU)
    size = weights(whole.model)["weight_bytes"]
    spread = {"device_map": "auto", "max_memory": {0: size // 2, "cpu": size // 4}}
    pipe = loaded(model, dtype="float32", resources=GPU, **spread)
    assert set(weights(pipe.model)["device_map"]) == {"0", "cpu", "disk"}
    assert [pipe(text, **GREEDY) for text in TEXTS] == [whole(text, **GREEDY) for text in TEXTS]


@pytest.mark.usefixtures("little_memory")
def test_a_batch_that_exceeds_the_memory_is_halved(model: Path) -> None:
    pipe = loaded(model, "feature-extraction", dtype="float32", resources=GPU)
    served = Served(pipe, "feature-extraction", config(model, batch={"max_items": 4096}).batch, check=False)
    try:
        outcomes, _ = served.runner.run_together(["a long text " * 100] * 2048, {})
        assert len(outcomes) == 2048
        assert served.noted.ceilings
    finally:
        served.engine.close()


def test_throughput_beside_the_bare_pipeline(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The figures are printed and decide nothing; the answers do."""
    pipe = loaded(model, dtype="bfloat16", resources=GPU)
    texts = [f"{text} {number}" for number in range(64) for text in TEXTS]
    started = time.perf_counter()
    expected = [pipe(text, **GREEDY)[0]["generated_text"] for text in texts]
    bare = time.perf_counter() - started
    served = Served(pipe, "text-generation", config(model).batch, check=True)
    try:
        started = time.perf_counter()
        outcomes, _ = served.runner.run_together(texts, GREEDY)
        ours = time.perf_counter() - started
    finally:
        served.engine.close()
    with capsys.disabled():
        print(f"{len(texts) / bare:.1f} texts/s one by one, {len(texts) / ours:.1f} served")
    same = sum(outcome[0]["generated_text"] == text for outcome, text in zip(outcomes, expected, strict=True))
    assert same >= 0.9 * len(texts)  # bfloat16 rounds otherwise in batches
