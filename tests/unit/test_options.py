"""Model configuration → Serve options that Serve itself accepts."""

from typing import Any

import pytest
from ray import serve
from ray.serve.config import AutoscalingConfig

from cluster.options import max_ongoing_requests, serve_options, with_gpus
from deployments.config import ModelConfig


def _options(**given: Any) -> dict[str, Any]:
    return serve_options(ModelConfig.model_validate({"task": "ner", "name": "m", **given}))


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ({}, {"num_replicas": 1}),
        ({"min_replicas": 3}, {"num_replicas": 3}),
        ({"min_replicas": 2, "max_replicas": 2}, {"num_replicas": 2}),
        ({"max_replicas": 4}, {"min_replicas": 1, "initial_replicas": 1, "max_replicas": 4}),
        ({"min_replicas": 2, "max_replicas": 4}, {"min_replicas": 2, "initial_replicas": 2, "max_replicas": 4}),
        ({"min_replicas": 0}, {"min_replicas": 0, "initial_replicas": 1, "max_replicas": 1}),
        ({"min_replicas": 0, "max_replicas": 3}, {"min_replicas": 0, "initial_replicas": 1, "max_replicas": 3}),
    ],
)
def test_bounds_become_autoscaling_and_equal_ones_a_fixed_number(
    scale: dict[str, int], expected: dict[str, int]
) -> None:
    options = _options(scale=scale)
    found = options.get("autoscaling_config") or {"num_replicas": options["num_replicas"]}
    assert {key: found[key] for key in expected} == expected
    assert ("num_replicas" in options) != ("autoscaling_config" in options)


def test_autoscaling_figures_reach_serve_by_its_own_names() -> None:
    scale = {"max_replicas": 4, "target_ongoing_requests": 7, "upscale_delay_s": 1, "downscale_delay_s": 2}
    found = AutoscalingConfig.model_validate(_options(scale=scale)["autoscaling_config"])
    assert (found.target_ongoing_requests, found.upscale_delay_s, found.downscale_delay_s) == (7, 1, 2)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, {"num_cpus": 1, "num_gpus": 0}),
        ({"num_cpus": 0.2}, {"num_cpus": 0.2, "num_gpus": 0}),
        ({"num_gpus": 0.5}, {"num_cpus": 1, "num_gpus": 0.5}),
        ({"num_gpus": 2, "memory_bytes": 10}, {"num_cpus": 1, "num_gpus": 2, "memory": 10}),
        ({"num_gpus": None}, {"num_cpus": 1, "num_gpus": 0}),
    ],
)
def test_resources_are_reserved_as_configured(resources: dict[str, Any], expected: dict[str, Any]) -> None:
    actor = _options(resources=resources)["ray_actor_options"]
    assert {key: value for key, value in actor.items() if key != "runtime_env"} == expected


@pytest.mark.parametrize(("cpus", "threads"), [(0, "1"), (0.2, "1"), (1, "1"), (1.9, "1"), (4, "4")])
def test_threads_follow_the_cpus(cpus: float, threads: str) -> None:
    environment = _options(resources={"num_cpus": cpus})["ray_actor_options"]["runtime_env"]["env_vars"]
    assert environment["OMP_NUM_THREADS"] == threads
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert int(environment["RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"]) > 2**30
    assert all(isinstance(value, str) for value in environment.values())  # Ray refuses others


@pytest.mark.parametrize("items", [1, 8, 32, 64])
def test_replica_holds_more_than_one_full_batch(items: int) -> None:
    config = ModelConfig.model_validate({"task": "ner", "batch": {"max_items": items}})
    assert max_ongoing_requests(config) >= 2 * items


def test_configured_number_of_ongoing_requests_is_kept() -> None:
    assert _options(scale={"max_ongoing_requests": 7})["max_ongoing_requests"] == 7


@pytest.mark.parametrize("percent", [0, 50, 100])
def test_an_update_doubles_memory_only_when_asked(percent: int) -> None:
    options = _options(scale={"max_surge_percent": percent} if percent else {})
    assert options["max_surge_percent"] == percent


@pytest.mark.parametrize("waiting", [-1, 0, 5])
def test_length_of_the_queue_is_kept(waiting: int) -> None:
    assert _options(scale={"max_queued_requests": waiting})["max_queued_requests"] == waiting


@pytest.mark.parametrize(
    ("resources", "bundle"),
    [
        ({"num_gpus": 1}, None),
        ({"num_gpus": 0.5}, None),
        ({"num_gpus": 2}, {"CPU": 1, "GPU": 2}),
        ({"num_gpus": 4, "num_cpus": 0, "memory_bytes": 9}, {"GPU": 4, "memory": 9}),
    ],
)
def test_several_gpus_are_reserved_on_one_node(resources: dict[str, Any], bundle: dict[str, float] | None) -> None:
    options = _options(resources=resources)
    assert options.get("placement_group_bundles") == (None if bundle is None else [bundle])
    assert options.get("placement_group_strategy") == (None if bundle is None else "STRICT_PACK")

    @serve.deployment
    class Model:
        def reconfigure(self, _: Any) -> None: ...

    assert Model.options(**options).name == "m"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "gpus"),
    [
        ({}, 0),
        ({"device": "cuda"}, 1),
        ({"device": "cuda:2"}, 3),
        ({"device": "cpu"}, 0),
        ({"device": "auto"}, 0),
        ({"device_map": {"a": 0, "b": "cuda:1", "c": "disk"}}, 2),
        ({"device_map": "cpu"}, 0),
        ({"device_map": "auto"}, 0),
        ({"device_map": "auto", "resources": {"num_gpus": 0.5}}, 0.5),
        ({"resources": {"num_gpus": 0}, "device": "cuda"}, 0),
    ],
)
def test_gpus_follow_the_placement_where_none_are_given(given: dict[str, Any], gpus: float) -> None:
    """Where the cluster has none; the plan that counts them otherwise has its own tests."""
    config = ModelConfig.model_validate({"task": "ner", "name": "m", **given})
    found = with_gpus(config, lambda: None)
    assert found.resources.num_gpus == gpus
    assert serve_options(found)["ray_actor_options"]["num_gpus"] == gpus


@pytest.mark.parametrize("scale", [{}, {"min_replicas": 0, "max_replicas": 3}, {"max_queued_requests": -1}])
def test_serve_accepts_the_options(scale: dict[str, Any]) -> None:
    @serve.deployment
    class Model:
        def reconfigure(self, _: Any) -> None: ...

    given = {"scale": scale, "parameters": {"stride": 1}, "batch": {"max_items": 9}}
    deployment = Model.options(**_options(**given))  # type: ignore[attr-defined]
    assert deployment.name == "m"
    assert deployment.user_config == ModelConfig.model_validate({"task": "ner", **given}).live_config()
    assert deployment.max_ongoing_requests == 36
