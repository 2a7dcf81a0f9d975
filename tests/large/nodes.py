"""A Ray cluster of three logical nodes with GPUs that nothing stands behind, for as long as standard input stays open.

``python -m tests.large.nodes`` prints its address, then waits: any line is answered once one more GPU is taken.
"""

import sys

import ray
from ray.cluster_utils import Cluster

_SMALL = {"object_store_memory": 80 * 2**20}


def main() -> None:
    """Start the nodes; stop them at the end of the input."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, **_SMALL})
    for gpus, kind in ((2, "L4"), (1, "T4")):
        cluster.add_node(num_cpus=2, num_gpus=gpus, resources={f"accelerator_type:{kind}": 1}, **_SMALL)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    print(cluster.address, flush=True)
    taken = []
    for _ in sys.stdin:
        taken.append(ray.util.placement_group([{"CPU": 1, "GPU": 1}], strategy="STRICT_PACK"))
        ray.get(taken[-1].ready())
        print("taken", flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
