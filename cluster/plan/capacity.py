"""What a Ray cluster, or this machine, has for replicas; what would start at once, and what would wait."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cluster.plan.gpus import Gpu, Supply, kind_of_node, supply_of

logger = logging.getLogger("pipeline_graph.plan")
SLACK = 1e-6
"""Of sums of fractions."""


@dataclass(frozen=True)
class Node:
    """A machine.

    Args:
        name: to show.
        cpus: logical ones that are free.
        gpus: what is free of each of its GPUs, in [0, 1].
        memory_bytes: free of what Ray gives out.
        kind: of its GPUs, if known.
    """

    name: str
    cpus: float
    gpus: tuple[float, ...]
    memory_bytes: float
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
    A fraction of a GPU lies on one GPU, and shares one that is begun already where it can, as Ray does.
    """
    left, found = list(nodes), []
    for demand in sorted(demands, key=lambda one: (-one.gpus, -one.cpus)):
        fitting = [index for index, node in enumerate(left) if _fits(demand, node)]
        if not fitting:
            found.append((demand, _reason(demand, nodes)))
            continue
        index = min(fitting, key=lambda one: (sum(left[one].gpus), left[one].cpus))
        node = left[index]
        left[index] = replace(
            node,
            cpus=node.cpus - demand.cpus,
            gpus=_without(node.gpus, demand.gpus) or (),
            memory_bytes=node.memory_bytes - demand.memory_bytes,
        )
    return found


def _fits(demand: Demand, node: Node) -> bool:
    return (
        demand.cpus <= node.cpus + SLACK
        and demand.memory_bytes <= node.memory_bytes + SLACK
        and _without(node.gpus, demand.gpus) is not None
    )


def _without(gpus: tuple[float, ...], wanted: float) -> tuple[float, ...] | None:
    """What is left of each GPU once ``wanted`` are given: whole ones, or a part of one; None where it does not fit."""
    share = min(wanted, 1.0)
    fitting = [index for index, left in enumerate(gpus) if share <= left + SLACK]
    taken = sorted(fitting, key=lambda index: gpus[index])[: math.ceil(wanted)]
    if len(taken) < math.ceil(wanted):
        return None
    return tuple(left - share if index in taken else left for index, left in enumerate(gpus))


def _reason(demand: Demand, nodes: Sequence[Node]) -> str:
    most = max((len(node.gpus) for node in nodes), default=0)
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
            gpus = _gpus(node, int(all_of_it.get("GPU", 0)), now.get("GPU", 0))
            figures = now.get("CPU", 0), gpus, now.get("memory", 0)
            nodes.append(Node(node["NodeManagerAddress"], *figures, kind_of_node(all_of_it)))
    return nodes


def _gpus(node: dict[str, Any], total: int, free: float) -> tuple[float, ...]:
    """What is free of each GPU of a node of Ray, which tells the sum; where some are in use, its processes tell which.

    Where they do not, only what is sure is counted: the same share of each.
    """
    from ray._private.internal_api import node_stats

    if free < SLACK or free > total - SLACK:
        return (float(free > SLACK),) * total
    try:
        found = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False)
    except Exception as error:  # of gRPC, which is not imported here
        logger.warning("%s does not tell which GPUs are free: %s", node["NodeManagerAddress"], error)
        return (free / total,) * total
    used: dict[int, float] = {}
    for worker in found.core_workers_stats:
        for index, share in _slots(worker.used_resources).items():
            used[index] = used.get(index, 0.0) + share
    return remainders(total, free, used)


def _slots(used: Any) -> dict[int, float]:
    """Shares of GPUs that a process has; in a placement group Ray names them twice, ``GPU_group_[INDEX_]ID``."""
    names = [name for name in used if name == "GPU" or name.startswith("GPU_group_")]
    return {one.slot: one.allocation for name in names for one in used[name].resource_slots}


def remainders(total: int, free: float, used: Mapping[int, float]) -> tuple[float, ...]:
    """What is left of each GPU of a node.

    Args:
        total: GPUs.
        free: of all together.
        used: share of each that a process says it has. What else is in use is held by placement groups in which
            nothing runs yet: it is taken from the emptiest, as these hold whole ones.
    """
    left = [max(0.0, 1.0 - used.get(index, 0.0)) for index in range(total)]
    held = sum(left) - free
    while held > SLACK:
        index = left.index(max(left))
        share = min(held, left[index])
        left[index], held = left[index] - share, held - share
    return tuple(left)


def gpu_of_cluster() -> Supply | None:
    """The GPUs of the cluster that this process is connected to; None without any."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]] if ray.is_initialized() else []
    return supply_of((resources.get("GPU", 0), kind_of_node(resources)) for resources in nodes)


def of_this_machine() -> list[Node]:
    """What Ray would find here, if it were started now."""
    import psutil
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager = get_accelerator_manager_for_resource("GPU")
    gpus = manager.get_current_node_num_accelerators()
    kind = manager.get_current_node_accelerator_type() if gpus else None
    memory = 0.7 * psutil.virtual_memory().available  # Ray keeps the rest for its object store
    known = kind_of_node({f"accelerator_type:{kind}": 1}) if kind else None
    return [Node("this machine", float(os.cpu_count() or 1), (1.0,) * gpus, memory, known)]


def demands(name: str, options: dict[str, Any]) -> list[Demand]:
    """One for each replica that a deployment starts with, from its Serve options."""
    actor = options["ray_actor_options"]
    count = options.get("num_replicas") or options.get("autoscaling_config", {}).get("initial_replicas", 1)
    one = Demand(name, actor.get("num_cpus", 1), actor.get("num_gpus", 0), actor.get("memory", 0))
    return [one] * int(count)
