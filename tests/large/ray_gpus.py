"""Replicas on logical GPUs, in a Ray cluster of this process: what happened, as JSON on the last line.

``python -m tests.large.ray_gpus MODEL``, with the directory of a small language model. On a machine without GPUs, Ray
hands out numbers that nothing stands behind.
"""

import json
import sys
from typing import Any

import ray
from ray import serve
from ray.serve.api import _run  # `serve.run` has no way not to wait

from cluster.plan.capacity import SLACK, of_cluster
from cluster.plan.cli import told
from deployments.config import ModelConfig
from graph.app import build
from tests.serve.cluster import cluster, until

GPUS = 2


def model(name: str, num_gpus: float | None, **more: Any) -> dict[str, Any]:
    return {"name": name, "task": "fake", "resources": {"num_cpus": 0.1, "num_gpus": num_gpus}, **more}


def deploy(*models: dict[str, Any]) -> None:
    _run(build({"models": list(models)}), name="pipelines", route_prefix="/", _blocking=False)


def replicas(name: str) -> dict[str, Any]:
    """States of the replicas of a deployment, by id."""
    details = serve.context._get_global_client().get_serve_details()
    deployments = details["applications"]["pipelines"]["deployments"]
    return {one["replica_id"]: one["state"] for one in deployments.get(name, {"replicas": ()})["replicas"]}


def running(name: str, count: int) -> bool:
    return list(replicas(name).values()) == ["RUNNING"] * count


def ids(name: str, count: int) -> list[list[str]]:
    """GPUs of each of ``count`` replicas."""
    until(lambda: running(name, count))
    handle, found = serve.get_deployment_handle(name, "pipelines"), set()

    def all_asked() -> bool:
        info = handle.info.remote().result(timeout_s=60)
        found.add(tuple(info["gpus"]))
        return len(found) >= count

    if count == 1:
        all_asked()
    else:
        until(all_asked, every_s=0)
    return sorted(list(one) for one in found)


def free_is(gpus: float) -> bool:
    """Whether Ray, which is told of it a little later, says that so many are free."""
    return abs(sum(of_cluster()[0].gpus) - gpus) < SLACK


def several_gpu_bundles() -> list[dict[str, Any]]:
    table = ray.util.placement_group_table().values()
    return [
        {"bundles": list(group["bundles"].values()), "strategy": group["strategy"], "state": group["state"]}
        for group in table
        if group["state"] != "REMOVED"
    ]


def main(language_model: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    deploy(model("one", 1, scale={"min_replicas": 2}))
    found["two replicas of one"] = ids("one", 2)

    deploy(model("one", 1), model("both", 2))
    until(lambda: running("one", 1))
    until(lambda: any(group["state"] == "PENDING" for group in several_gpu_bundles()))
    found["waiting"] = several_gpu_bundles()
    found["states while waiting"] = sorted(replicas("both").values())
    deploy(model("both", 2))
    found["both"] = ids("both", 1)
    found["placed"] = several_gpu_bundles()

    deploy(model("half", 0.5), model("other-half", 0.5), model("whole", 1))
    found["half"], found["other half"], found["whole"] = ids("half", 1), ids("other-half", 1), ids("whole", 1)

    deploy(model("most", 0.6), model("other-most", 0.6))
    found["mostly"] = sorted(ids("most", 1) + ids("other-most", 1))
    until(lambda: free_is(0.8))
    found["left"] = list(of_cluster()[0].gpus)
    wanted = [ModelConfig.model_validate(model(name, part)) for name, part in (("half", 0.5), ("rest", 0.4))]
    found["told of parts"] = list(told([(wanted, 0.1)], of_cluster()))

    deploy(model("named", None, device="cuda:1"), model("none", None))
    found["named"], found["none"] = ids("named", 1), ids("none", 1)

    real = {"task": "text-generation", "model": language_model, "resources": {"num_cpus": 0.1}}
    deploy({**real, "name": "planned", "device_map": "auto"}, {**real, "name": "small", "quantization": "8bit"})
    for name in ("planned", "small"):
        until(lambda name=name: running(name, 1), 180)
        found[name] = serve.get_deployment_handle(name, "pipelines").info.remote().result(timeout_s=60)
    until(lambda: free_is(1))
    nodes = of_cluster()
    models = [ModelConfig.model_validate(model("late", 2, scale={"min_replicas": 2}))]
    found["told"] = list(told([(models, 0.1)], nodes))
    found["free"] = [list(node.gpus) for node in nodes]
    return found


if __name__ == "__main__":
    with cluster(num_cpus=16, num_gpus=GPUS):
        result = main(sys.argv[1])
    print(json.dumps(result))
