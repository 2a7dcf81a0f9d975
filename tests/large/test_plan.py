"""The plan, from headers alone, against what loaded models really have."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)
from transformers.utils import is_timm_available

from cluster.cli import main
from cluster.options import with_gpus
from cluster.plan.capacity import Node
from cluster.plan.cli import told
from cluster.plan.empty import activation_bytes, cache_bytes, count_weights, empty_model
from cluster.plan.gpus import KNOWN, USABLE, Gpu, Supply, device_map, fit
from cluster.plan.needs import CHOICES, ModelNeeds, gpus_needed
from cluster.plan.report import decode_ceiling, report
from cluster.plan.source import read_headers
from deployments.config import ModelConfig
from deployments.errors import ConfigError
from deployments.load import load
from deployments.model_ref import parse_model_ref
from graph.app import build
from tests.large.models import config, loaded
from tests.tiny import CASES, Case, checkpoint, stand_in
from tests.tiny.common import save, seeded

pytestmark = pytest.mark.pipelines
TINY = Gpu("tiny", 1e-9, 100)


def _scales(model: Any) -> int:
    """Bytes of the scales of quantised layers, which no count of parameters includes."""
    found = 0
    for one in model.parameters():
        if getattr(one, "SCB", None) is not None:
            found += one.SCB.numel() * one.SCB.element_size()
        state = getattr(one, "quant_state", None)
        if state is not None:
            found += state.absmax.numel() * state.absmax.element_size()
            if state.nested:
                found += state.state2.absmax.numel() * state.state2.absmax.element_size()
    return found


def _real_bytes(model: Any) -> int:
    return int(model.get_memory_footprint()) + _scales(model)


@pytest.mark.parametrize("dtype", ["auto", "float16", "bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_bytes_are_those_of_the_loaded_model(case: Case, dtype: str, checkpoints: Path) -> None:
    stand_in.install()
    source = str(checkpoint(case, checkpoints))
    given = ModelConfig(name="m", task=case.task, model=source, init=case.init, dtype=dtype, packed_linear=False)
    model = load(given).pipe.model
    empty = empty_model(given, parse_model_ref(source), dtype)
    assert type(empty) is type(model)
    counted = count_weights(empty)
    assert counted.bytes == _real_bytes(model)
    assert counted.parameters == sum(one.numel() for one in model.parameters())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_task_has_a_plan(case: Case, checkpoints: Path) -> None:
    stand_in.install()
    given = ModelConfig(name="m", task=case.task, model=str(checkpoint(case, checkpoints)), init=case.init)
    model = ModelNeeds(given, parse_model_ref(str(checkpoint(case, checkpoints))))
    shown = report(model)
    assert f"{count_weights(model.empty()).parameters:,}" in shown
    assert "num_gpus: 1" in shown


@pytest.mark.parametrize(
    "quantization",
    ["8bit", "4bit", {"load_in_4bit": True, "bnb_4bit_use_double_quant": True}],
    ids=["8bit", "4bit", "double"],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bytes_are_those_of_the_loaded_quantised_model(language_model: Path, quantization: Any, dtype: str) -> None:
    given = config(language_model, quantization=quantization, dtype=dtype)
    model = load(given).pipe.model
    assert ModelNeeds(given, parse_model_ref(str(language_model))).as_configured().weights.bytes == _real_bytes(model)


def test_headers_are_those_of_the_files(language_model: Path, tmp_path: Path) -> None:
    model = loaded(language_model).model
    headers = read_headers(parse_model_ref(str(language_model)))
    assert headers is not None
    assert headers.parameters == sum(one.numel() for one in model.parameters())
    assert (headers.bytes, set(headers.dtypes)) == (4 * headers.parameters, {"F32"})
    model.to(torch.bfloat16).save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    sharded = read_headers(parse_model_ref(str(tmp_path)))
    assert sharded is not None
    assert (sharded.parameters, sharded.bytes) == (headers.parameters, headers.bytes // 2)


_SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
}
_MODELS: dict[str, Any] = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=128, n_embd=32, n_layer=2, n_head=4)),
    "shared-heads-and-a-window": lambda: MistralForCausalLM(
        MistralConfig(**_SMALL, num_key_value_heads=2, sliding_window=8)
    ),
    "both-kinds-of-layer": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(
            **_SMALL,
            num_key_value_heads=2,
            head_dim=8,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention"],
        )
    ),
    "experts": lambda: MixtralForCausalLM(
        MixtralConfig(**_SMALL, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=1)
    ),
}


@pytest.fixture(scope="module", params=_MODELS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    save(folder, seeded(_MODELS[request.param]))
    return request.param, folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_cache_is_that_of_a_real_pass(kind: tuple[str, Path], dtype: str) -> None:
    _, folder = kind
    given = config(folder, dtype=dtype)
    empty = empty_model(given, parse_model_ref(str(folder)), dtype)
    model = type(empty).from_pretrained(folder, dtype=getattr(torch, dtype))
    with torch.no_grad():
        cache = model(torch.ones(3, 20, dtype=torch.long), use_cache=True).past_key_values
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    assert cache_bytes(empty, 3, 20) == sum(tensor.numel() * tensor.element_size() for tensor in tensors) > 0


def test_activations_are_those_of_a_real_pass(language_model: Path) -> None:
    """The same operators run on data: what they hold is what was counted without any."""
    given = config(language_model)
    empty = empty_model(given, parse_model_ref(str(language_model)), "float32")
    model = loaded(language_model).model
    rows, tokens = 3, 40
    counted = activation_bytes(empty, {"input_ids": torch.zeros(rows, tokens, dtype=torch.long, device="meta")})
    real = activation_bytes(model, {"input_ids": torch.ones(rows, tokens, dtype=torch.long)})
    assert counted is not None
    assert real is not None
    scores = rows * tokens * model.config.vocab_size * 4
    assert scores < real <= 1.1 * counted
    assert counted <= 4 * real  # attention on the meta device writes its matrix of scores


def test_experts_that_a_token_does_not_use_are_not_read(kind: tuple[str, Path]) -> None:
    name, folder = kind
    weights = count_weights(empty_model(config(folder), parse_model_ref(str(folder)), "float32"))
    dense = weights.bytes * 0.97
    assert (weights.per_token < 0.6 * dense) == (name == "experts")


def test_device_map_is_the_one_that_loading_makes(language_model: Path) -> None:
    """Over GPUs that are not there it must name every part once, and fill them in order."""
    needs = ModelNeeds(config(language_model), parse_model_ref(str(language_model)))
    empty = needs.empty()
    weights = count_weights(empty)
    usable = weights.bytes // 2 + weights.largest + 1
    assert fit(weights.bytes, usable, weights.largest).count == 2
    found = device_map(empty, 2, usable)
    assert set(found.values()) == {0, 1}
    for name, _ in empty.named_parameters():
        assert sum(name == part or name.startswith(f"{part}.") for part in found) == 1
    assert list(found.values()) == sorted(found.values())


def test_gpus_follow_from_the_plan(language_model: Path) -> None:
    given = config(language_model, device_map="auto", batch={"max_items": 1, "max_padded_tokens": 64})
    needs = ModelNeeds(given, parse_model_ref(str(language_model))).as_configured()
    for usable, count in ((needs.total, 1), *((needs.total / n + needs.weights.largest, n) for n in (2, 4, 8))):
        assert gpus_needed(given, Supply(Gpu("x", 1.05 * usable / USABLE / 2**30, 100), 8)) == count
    for most in (1, 3, 8):  # accelerate then leaves parts to memory and disk
        assert gpus_needed(given, Supply(TINY, most)) == most
    assert gpus_needed(given, Supply(TINY, 16)) == 8


def test_no_replica_gets_more_gpus_than_a_node_has(language_model: Path) -> None:
    given = config(language_model, device_map="auto")
    assert with_gpus(given, lambda: Supply(TINY, 1)).resources.num_gpus == 1
    nodes = [Node("a", 8, (1.0,), 2**40, TINY), Node("b", 8, (1.0,), 2**40, TINY)]
    assert list(told([([given], 0.1)], nodes)) == []


def test_tensor_parallelism_over_more_gpus_than_a_node_has_is_refused(language_model: Path) -> None:
    given = config(language_model, tp_plan="auto")
    assert with_gpus(given, lambda: Supply(KNOWN["H100"], 2)).resources.num_gpus == 2
    for supply, says in (
        (Supply(KNOWN["H100"], 1), "several GPUs of one node, and no node has more than one"),
        (Supply(TINY, 4), "GiB, more than 4 x tiny of one node: tensor parallelism over several nodes is not built"),
        (Supply(TINY, 16), "more than 8 x tiny of one node"),
    ):
        with pytest.raises(ConfigError, match=says):
            with_gpus(given, lambda supply=supply: supply)


def test_what_no_node_has_is_told_of_a_cluster_too(
    language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def connected(_: str | None) -> Iterator[list[Node]]:
        yield [Node("a", 8, (1.0,), 2**40, KNOWN["L4"])]

    monkeypatch.setattr("cluster.plan.cli.connected", connected)
    file = _file(tmp_path, {"name": "first", "model": str(language_model), "tp_plan": "auto"})
    assert main(["plan", file, "--cluster"]) == 2
    assert "no node has more than one" in capsys.readouterr().err


def _file(folder: Path, *models: dict[str, Any]) -> str:
    """A config file with these models of text generation."""
    args = {"models": [{"task": "text-generation", **model} for model in models]}
    application = {"name": "p", "route_prefix": "/", "import_path": "graph.app:build", "args": args}
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({"applications": [application]}))
    return str(file)


@pytest.fixture
def without_its_package(tmp_path: Path) -> Path:
    """A model of timm, which is not installed here."""
    if is_timm_available():
        pytest.skip("timm is installed")
    kind = {"model_type": "timm_wrapper", "architecture": "resnet18", "num_classes": 2}
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**kind, "architectures": ["TimmWrapperForImageClassification"]}))
    return folder


def test_a_package_that_a_model_needs_is_told(without_its_package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(without_its_package), "--task", "image-classification"]) == 2
    assert "timm" in capsys.readouterr().err


def test_a_model_that_cannot_be_planned_does_not_stop_the_others(
    without_its_package: Path, language_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("graph.app.gpu_of_cluster", lambda: Supply(KNOWN["L4"], 2))
    broken = {"task": "image-classification", "model": str(without_its_package), "device_map": "auto"}
    build({"models": [broken, {"name": "sound", "model": str(language_model), "device_map": "auto"}]})
    assert "image-classification cannot be planned" in caplog.text
    assert "timm" in caplog.text


def test_bounds_of_the_batch_bound_the_cache(language_model: Path) -> None:
    def needs(**batch: int) -> Any:
        return ModelNeeds(config(language_model, batch=batch), parse_model_ref(str(language_model))).as_configured()

    small, large = needs(max_items=2, max_padded_tokens=64), needs(max_items=4, max_padded_tokens=128)
    assert (small.rows, small.tokens, large.rows, large.tokens) == (2, 32, 4, 32)
    assert large.cache == 2 * small.cache
    assert needs(max_items=1, max_padded_tokens=10_000).tokens == 512  # the model's context
    kept = needs(max_items=2, max_padded_tokens=64, max_prefix_tokens=192)
    assert (kept.kept, kept.total - kept.kept) == (3 * small.cache, small.total - small.kept)
    fast, slow = (decode_ceiling(small, KNOWN[name])[0] for name in ("H100", "T4"))
    assert fast / slow == pytest.approx(3350 / 320)


def test_plan_of_a_model_can_be_pasted(language_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(language_model), "--quantization", "4bit"]) == 0
    shown = capsys.readouterr().out
    words = ("text-generation", "parameters", "F32", *CHOICES, "keys and values", "T4", "H100", "tokens/s")
    assert [word for word in words if word not in shown] == []
    pasted = yaml.safe_load(shown.partition("To paste")[2].partition("\n")[2])
    (model,) = [ModelConfig.model_validate(one) for one in pasted]
    assert model.resources.num_gpus == 1
    assert model.quantization is not None
    assert load(model.model_copy(update={"resources": config(language_model).resources})).pipe.model.is_loaded_in_4bit


def test_plan_of_a_file_has_every_model(
    language_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _file(tmp_path, {"name": "first", "model": str(language_model)}, {"name": "second", "task": "fake"})
    assert main(["plan", file, "--gpu", "L4"]) == 0
    shown = capsys.readouterr().out
    assert "first: text-generation" in shown
    assert "second: fake" in shown
    assert "for L4" in shown


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("/no/such/model", "there is no /no/such/model"),
        ("{strange}", "cannot be read"),
        ("none.yaml", "cannot be read"),
    ],
)
def test_what_cannot_be_planned_is_told(
    target: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-kind", "architectures": ["X"]}))
    assert main(["plan", target.format(strange=tmp_path), "--task", "text-generation"]) == 2
    assert says in capsys.readouterr().err


def test_no_weight_is_read(language_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of which nothing but the header is left is enough."""
    for file in language_model.iterdir():
        content = file.read_bytes()
        if file.suffix == ".safetensors":
            content = content[: 8 + int.from_bytes(content[:8], "little")]
        (tmp_path / file.name).write_bytes(content)
    shown = []
    for folder in (tmp_path, language_model):
        assert main(["plan", str(folder)]) == 0
        shown.append(capsys.readouterr().out.replace(str(folder), "MODEL"))
    assert shown[0] == shown[1]
