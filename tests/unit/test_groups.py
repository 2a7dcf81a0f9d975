"""Models that share replicas, without a server: configuration, Serve options, and what routers know of their states."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray import serve

from cluster.options import group_options, serve_options
from cluster.plan import cli as planning
from cluster.plan.capacity import Node
from deployments.config import GroupConfig, ModelConfig
from deployments.cpu_linear import pack_linear, packed_bytes
from deployments.errors import ConfigError
from deployments.model_ref import parse_model_ref
from deployments.saved import saved_bytes
from graph.config import GraphConfig
from graph.groups import Groups, merged
from graph.readiness import ModelState
from graph.resolve import configure

ONE = {"name": "one", "task": "ner", "model": "a/b", "group": "rare"}
TWO = {"name": "two", "task": "ner", "model": "c/d", "group": "rare"}
ALONE = {"name": "alone", "task": "ner", "model": "e/f"}


def configured(*models: dict[str, Any], **group: Any) -> GraphConfig:
    return configure({"models": [*models], "groups": {"rare": {"max_models": 1, **group}}})


@pytest.mark.parametrize(
    ("given", "count"),
    [(100, 100), ("1KiB", 1024), ("1 kB", 1000), ("1.5GiB", 3 * 2**29), ("4GB", 4_000_000_000), ("2mib", 2**21)],
)
def test_memory_is_bytes_or_a_text(given: Any, count: int) -> None:
    group = GroupConfig(memory=given)
    assert group.memory == count
    assert GroupConfig.model_validate(group.model_dump(mode="json")) == group


@pytest.mark.parametrize("given", ["4", "GiB", "-1GiB", "4 gigabytes", 0, -5])
def test_other_memory_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="memory"):
        GroupConfig(memory=given)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"models": [ONE]}, "there is no group rare"),
        ({"models": [ALONE], "groups": {"rare": {"max_models": 1}}}, "no model is in the group rare"),
        ({"models": [ONE], "groups": {"rare": {}}}, "args.groups.rare: give `memory`, `max_models` or both"),
        ({"models": [ONE], "groups": {"rare": {"max_model": 1}}}, "args.groups.rare.max_model: unknown key; did you"),
        ({"models": [{**ONE, "group": "a/b"}], "groups": {"a/b": {"max_models": 1}}}, "cannot be called 'a/b'"),
        ({"models": [{**ONE, "name": "rare"}], "groups": {"rare": {"max_models": 1}}}, "no model and not the router"),
        ({"models": [{**ONE, "group": "router"}], "groups": {"router": {"max_models": 1}}}, "not the router"),
        (
            {"models": [{**ONE, "scale": {"max_replicas": 2}}], "groups": {"rare": {"max_models": 1}}},
            "args.models[0].scale: is that of its replicas: give `groups.rare.scale`",
        ),
        (
            {"models": [ALONE, {**ONE, "resources": {}}], "groups": {"rare": {"max_models": 1}}},
            "args.models[1].resources: is that of its replicas",
        ),
        (
            {"models": [{**ONE, "tp_plan": "auto"}], "groups": {"rare": {"max_models": 1}}},
            "args.models[0].tp_plan: takes the GPUs of a replica for itself",
        ),
    ],
)
def test_mistakes_are_named_by_their_path(args: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configure(args)
    assert says in str(caught.value)


def test_models_have_the_scale_and_resources_of_their_group() -> None:
    config = configured(ONE, ALONE, scale={"min_replicas": 2}, resources={"num_cpus": 3})
    one, alone = config.models
    assert (one.scale.min_replicas, one.resources.num_cpus, one.resources.num_gpus) == (2, 3, 0)
    assert (alone.scale.min_replicas, alone.resources.num_cpus, alone.resources.num_gpus) == (1, 1, None)
    assert (one.deployment, alone.deployment) == ("rare", "alone")
    GraphConfig.model_validate(config.model_dump(mode="json"))  # as the router reads it


def test_a_group_says_nothing_of_how_a_model_is_loaded() -> None:
    """So that a release with groups restarts no replica of a model that is in none."""
    assert "group" not in ModelConfig.model_validate(ALONE).load_key()


def test_options_are_those_of_one_deployment_that_serve_accepts() -> None:
    config = configured(ONE, {**TWO, "batch": {"max_items": 64}}, memory="1GiB", resources={"num_cpus": 2})
    options = group_options(config.groups["rare"], config.models)
    assert (options["name"], options["max_ongoing_requests"], options["num_replicas"]) == ("rare", 256, 1)
    assert options["ray_actor_options"]["num_cpus"] == 2
    told = json.loads(json.dumps(options["user_config"]))
    assert told["bounds"] == {"max_bytes": 2**30, "max_models": 1, "max_callers": 128}
    assert [ModelConfig.model_validate(model).load_key() for model in told["models"]] == [
        model.load_key() for model in config.models
    ]

    @serve.deployment
    class Some: ...

    Some.options(**options)  # type: ignore[attr-defined]
    assert serve_options(config.models[0])["name"] == "rare"


def test_a_plan_counts_the_replicas_of_a_group_once() -> None:
    config = configured(ONE, TWO, ALONE, resources={"num_cpus": 4})
    nodes = [Node("n", 5.0, (), 2.0**36)]
    assert list(planning.told([(list(config.models), 0.0)], nodes)) == []
    nodes = [Node("n", 4.5, (), 2.0**36)]
    [line] = planning.told([(list(config.models), 0.0)], nodes)
    assert "1 replica would wait" in line


def told(state: str, reason: str = "") -> dict[str, str]:
    return {"state": state, "reason": reason}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], ModelState("asleep")),
        ([told("asleep"), told("asleep")], ModelState("asleep")),
        ([told("ready"), told("asleep"), told("ready")], ModelState("ready", 2)),
        ([told("failed", "why"), told("ready")], ModelState("ready", 1)),
        ([told("failed", "why"), told("loading")], ModelState("loading")),
        ([told("asleep"), told("failed", "why")], ModelState("failed", 0, "why")),
    ],
)
def test_one_state_out_of_those_of_all_replicas(states: list[dict[str, str]], expected: ModelState) -> None:
    assert merged(states) == expected  # type: ignore[arg-type]


class Handle:
    """Broadcasts as a deployment handle does."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = answers, 0

    def broadcast(self, method: str) -> Any:
        assert method == "states"
        self.asked += 1

        async def results_async(**_: Any) -> list[Any]:
            if isinstance(self.answers[0], OSError):
                raise self.answers[0]
            return list(self.answers)

        return SimpleNamespace(results_async=results_async)


def groups(handle: Handle) -> Groups:
    config = configured(ONE, TWO, ALONE)
    targets: list[Any] = [SimpleNamespace(config=model, name=model.name, handle=handle) for model in config.models]
    return Groups(targets)


def test_every_replica_is_asked_once_for_all_models_of_the_group() -> None:
    handle = Handle({"one": told("ready"), "two": told("asleep")}, {"one": told("asleep"), "two": told("loading")})
    found = groups(handle)
    assert [found.of(name) for name in ("one", "two", "alone", "nobody")] == ["rare", "rare", None, None]
    asyncio.run(found.refresh(lambda group: group == "rare"))
    assert handle.asked == 1
    assert (found.state("one"), found.state("two")) == (ModelState("ready", 1), ModelState("loading"))


def test_a_group_without_replicas_is_not_asked() -> None:
    handle = Handle({})
    found = groups(handle)
    asyncio.run(found.refresh(lambda _: False))
    assert handle.asked == 0
    assert found.state("one") == ModelState("asleep")


def test_the_last_known_states_serve_while_nothing_answers() -> None:
    handle = Handle({"one": told("ready")}, RuntimeError("a replica that goes"))
    found = groups(handle)
    asyncio.run(found.refresh(lambda _: True))
    handle.answers = (OSError(),)
    asyncio.run(found.refresh(lambda _: True))
    assert found.state("one") == ModelState("ready", 1)


def test_the_size_of_a_model_that_was_never_loaded_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    ref = parse_model_ref(str(tmp_path))
    assert saved_bytes(ref) == 0
    (tmp_path / "pytorch_model.bin").write_bytes(b"x" * 7)
    assert saved_bytes(ref) == 7
    for shard in (1, 2):
        (tmp_path / f"model-0000{shard}-of-00002.safetensors").write_bytes(b"x" * 10 * shard)
    assert saved_bytes(ref) == 30
    assert saved_bytes(parse_model_ref("nobody/has-this-model")) == 0


def test_the_size_of_a_model_of_the_hub_is_that_of_all_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the hub's own cache, where the files of a snapshot are links."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--owner--model"
    snapshot = repository / "snapshots" / ("0" * 40)
    for folder in (snapshot, repository / "refs", repository / "blobs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    for name, content in {
        "config.json": b"{}",
        "model-00001-of-00002.safetensors": b"x" * 10,
        "model-00002-of-00002.safetensors": b"x" * 20,
        "pytorch_model.bin": b"x" * 500,
        "model.Q4.gguf": b"x" * 7,
    }.items():
        (repository / "blobs" / name).write_bytes(content)
        (snapshot / name).symlink_to(repository / "blobs" / name)
    assert saved_bytes(parse_model_ref("owner/model")) == 30
    assert saved_bytes(parse_model_ref("owner/model/model.Q4.gguf")) == 7
    assert saved_bytes(parse_model_ref("owner/model/other.gguf")) == 0
    assert saved_bytes(parse_model_ref("owner/model@elsewhere")) == 0


def test_packed_copies_are_counted() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)).eval()
    assert packed_bytes(model) == 0
    packed = pack_linear(model)
    assert packed_bytes(model) == (4 * (8 * 16 + 16 * 4) if packed else 0)
    assert packed_bytes(None) == 0
