"""What a Ray cluster, or this machine, has for replicas; what would start at once, and what would wait."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cluster.plan.gpus import KNOWN, Gpu, kind_of_node

_SLACK = 1e-6  # of fractions


@dataclass(frozen=True)
class Node:
    """A machine.

    Args:
        name: to show.
        cpus, gpus: logical ones that are free.
        memory_bytes: free of what Ray gives out.
        total_gpus: with those in use.
        kind: of its GPUs, if known.
    """

    name: str
    cpus: float
    gpus: float
    memory_bytes: float
    total_gpus: float
    kind: Gpu | None = None


@dataclass(frozen=True)
class Demand:
    """What one replica reserves."""

    name: str
    cpus: float
    gpus: float
    memory_bytes: float = 0


def waiting(demands: Sequence[Demand], nodes: Sequence[Node]) -> list[tuple[Demand, str]]:
    """Those of ``demands`` that find no node, each with the reason.

    The largest are placed first, as they are the hardest to place.
    A fraction of a GPU shares one that is begun already where it can, as Ray does.
    """
    left, found = list(nodes), []
    for demand in sorted(demands, key=lambda one: (-one.gpus, -one.cpus)):
        fitting = [index for index, node in enumerate(left) if _fits(demand, node)]
        if not fitting:
            found.append((demand, _reason(demand, nodes)))
            continue
        index = min(fitting, key=lambda one: (left[one].gpus, left[one].cpus))
        node = left[index]
        left[index] = replace(
            node,
            cpus=node.cpus - demand.cpus,
            gpus=node.gpus - demand.gpus,
            memory_bytes=node.memory_bytes - demand.memory_bytes,
        )
    return found


def _fits(demand: Demand, node: Node) -> bool:
    return (
        demand.cpus <= node.cpus + _SLACK
        and demand.gpus <= node.gpus + _SLACK
        and demand.memory_bytes <= node.memory_bytes + _SLACK
    )


def _reason(demand: Demand, nodes: Sequence[Node]) -> str:
    most = max((node.total_gpus for node in nodes), default=0)
    if demand.gpus > most:
        there = f"the largest node has {most:g}" if most else "there is no node with any"
        return f"{demand.gpus:g} GPUs on one node are wanted, and {there}"
    wanted = [f"{demand.gpus:g} GPUs"] * bool(demand.gpus) + [f"{demand.cpus:g} CPUs"] * bool(demand.cpus)
    memory = f" with {demand.memory_bytes / 2**30:.1f} GiB" if demand.memory_bytes else ""
    return f"no node has {' and '.join(wanted) or 'room'}{memory} free beside the other replicas"


def of_cluster() -> list[Node]:
    """The nodes of the Ray cluster that this process is connected to."""
    import ray
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()
    nodes = []
    for node in ray.nodes():
        if node["Alive"]:
            now, all_of_it = free.get(node["NodeID"], {}), node["Resources"]
            figures = now.get("CPU", 0), now.get("GPU", 0), now.get("memory", 0), all_of_it.get("GPU", 0)
            nodes.append(Node(node["NodeManagerAddress"], *figures, kind_of_node(all_of_it)))
    return nodes


def gpu_of_cluster() -> Gpu | None:
    """The kind of GPU in the cluster that this process is connected to, the smallest of several; None without any.

    One that Ray does not name counts as the smallest that is known.
    """
    import ray

    nodes = [node for node in of_cluster() if node.total_gpus] if ray.is_initialized() else []
    kinds = [node.kind or min(KNOWN.values(), key=lambda gpu: gpu.memory_gib) for node in nodes]
    return min(kinds, key=lambda gpu: gpu.memory_gib, default=None)


def of_this_machine() -> list[Node]:
    """What Ray would find here, if it were started now."""
    import psutil
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager = get_accelerator_manager_for_resource("GPU")
    gpus = manager.get_current_node_num_accelerators()
    kind = manager.get_current_node_accelerator_type() if gpus else None
    memory = 0.7 * psutil.virtual_memory().available  # Ray keeps the rest for its object store
    known = kind_of_node({f"accelerator_type:{kind}": 1}) if kind else None
    return [Node("this machine", float(os.cpu_count() or 1), float(gpus), memory, float(gpus), known)]


def demands(name: str, options: dict[str, Any]) -> list[Demand]:
    """One for each replica that a deployment starts with, from its Serve options."""
    actor = options["ray_actor_options"]
    count = options.get("num_replicas") or options.get("autoscaling_config", {}).get("initial_replicas", 1)
    one = Demand(name, actor.get("num_cpus", 1), actor.get("num_gpus", 0), actor.get("memory", 0))
    return [one] * int(count)
