"""A server of its own, as a process: ``python -m tests.serve.traced PORT MODELS``; serves until its input ends.

MODELS is the list of the configuration as JSON.
Its environment turns traces on.
"""

import json
import sys

import ray
from ray import serve

from tests.serve.cluster import ROOT, deploy


def main() -> None:
    port = int(sys.argv[1])
    ray.init(
        address="local",
        num_cpus=8,
        include_dashboard=False,
        namespace="serve",
        log_to_driver=False,
        object_store_memory=256 * 2**20,
        runtime_env={"env_vars": {"PYTHONPATH": f"{ROOT}"}},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    deploy(f"http://127.0.0.1:{port}", {"models": json.loads(sys.argv[2])})
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
