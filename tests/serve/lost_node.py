"""A worker node dies under load, in a Ray cluster of this process: what happened, as JSON on the last line.

``python -m tests.serve.lost_node``. Four logical nodes on this machine: the head has the proxy and the router, each of
the others has room for one replica of the model, which has two.
"""

import asyncio
import json
import os
from typing import Any

import psutil
import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.api import _run  # `serve.run` has no way not to wait

from graph.app import build
from tests.serve.cluster import ROOT, free_port, until
from tests.serve.open_loop import load

COUNT, PER_S = 600, 20
MODEL = {"name": "echo", "task": "fake", "resources": {"num_cpus": 2}, "scale": {"min_replicas": 2}}
ARGS: dict[str, Any] = {"models": [{**MODEL, "init": {"forward_s": 0.1}}], "router": {"num_cpus": 1}}


def nodes(deployment: str) -> list[str]:
    """Of each running replica, the node."""
    details = serve.context._get_global_client().get_serve_details()
    found = details["applications"]["pipelines"]["deployments"][deployment]["replicas"]
    return [replica["node_id"] for replica in found if replica["state"] == "RUNNING"]


def kill(node: Any) -> None:
    """The raylet and all its workers, at once."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [raylet, *raylet.children(recursive=True)]:
        process.kill()


def main(cluster: Cluster, url: str) -> dict[str, Any]:
    """Deploy, load, kill the node of a replica midway; what became of it all."""
    _run(build(ARGS), name="pipelines", route_prefix="/", _blocking=False)
    until(lambda: len(nodes("router")) == 1, 120)  # on the head: there is no other node yet
    workers = {node.node_id: node for node in (cluster.add_node(num_cpus=2) for _ in range(3))}
    until(lambda: len(nodes("echo")) == 2, 120)
    found: dict[str, Any] = {"before": nodes("echo"), "router": nodes("router")}
    found["killed"] = found["before"][0]

    async def midway() -> None:
        await asyncio.to_thread(kill, workers[found["killed"]])

    account = asyncio.run(load(f"{url}/models/echo", lambda number: {"inputs": f"text {number}"}, COUNT, PER_S, midway))
    until(lambda: len(nodes("echo")) == 2 and found["killed"] not in nodes("echo"), 120)
    return {**found, "after": nodes("echo"), "sent": account.sent, "answers": dict(account.answers)}


if __name__ == "__main__":
    os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "60"  # of Serve's controller; 5 s are few for four nodes here
    head = {"num_cpus": 1, "include_dashboard": False, "dashboard_port": free_port(), "object_store_memory": 2**27}
    logical = Cluster(initialize_head=True, head_node_args=head)
    try:
        ray.init(
            address=logical.address,
            namespace="serve",
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": f"{ROOT}"}},
        )
        port = free_port()
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
        result = main(logical, f"http://127.0.0.1:{port}")
    finally:
        serve.shutdown()
        ray.shutdown()
        logical.shutdown()
    print(json.dumps(result))
