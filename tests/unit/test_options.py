"""Model configuration → Serve options that Serve itself accepts."""

from typing import Any

import pytest
from ray import serve
from ray.serve.config import AutoscalingConfig

from cluster.options import max_ongoing_requests, serve_options
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
    assert all(isinstance(value, str) for value in environment.values())  # Ray refuses others


@pytest.mark.parametrize("items", [1, 8, 32, 64])
def test_replica_holds_more_than_one_full_batch(items: int) -> None:
    config = ModelConfig.model_validate({"task": "ner", "batch": {"max_items": items}})
    assert max_ongoing_requests(config) >= 2 * items


def test_configured_number_of_ongoing_requests_is_kept() -> None:
    assert _options(scale={"max_ongoing_requests": 7})["max_ongoing_requests"] == 7


@pytest.mark.parametrize("waiting", [-1, 0, 5])
def test_length_of_the_queue_is_kept(waiting: int) -> None:
    assert _options(scale={"max_queued_requests": waiting})["max_queued_requests"] == waiting


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
