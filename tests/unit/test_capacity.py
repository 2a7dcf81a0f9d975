"""Which replicas find room on which nodes: placed as Ray would, without Ray."""

import pytest

from cluster.plan.capacity import Demand, Node, demands, waiting
from cluster.plan.gpus import COUNTS, KNOWN, fit, kind_of_node

GIB = 2**30


def _node(cpus: float = 8, gpus: float = 0, memory: float = 64 * GIB) -> Node:
    return Node("n", cpus, gpus, memory, gpus)


@pytest.mark.parametrize(
    ("wanted", "nodes", "late"),
    [
        ([Demand("a", 1, 0)] * 8, [_node()], []),
        ([Demand("a", 1, 0)] * 9, [_node()], ["a"]),
        ([Demand("a", 1, 2)], [_node(gpus=1), _node(gpus=1)], ["a"]),  # never over two nodes
        ([Demand("a", 1, 2)], [_node(gpus=1), _node(gpus=2)], []),
        ([Demand("one", 1, 1), Demand("two", 1, 2)], [_node(gpus=2), _node(gpus=1)], []),  # the larger one first
        ([Demand("one", 1, 1), *[Demand("two", 1, 2)] * 2], [_node(gpus=2), _node(gpus=3)], []),
        ([Demand("half", 0.1, 0.5)] * 4, [_node(gpus=2)], []),
        ([Demand("half", 0.1, 0.5)] * 5, [_node(gpus=2)], ["half"]),
        ([Demand("third", 0.1, 1 / 3)] * 3, [_node(gpus=1)], []),
        ([Demand("a", 1, 0, 40 * GIB)] * 2, [_node()], ["a"]),
        ([Demand("a", 0, 0)], [], ["a"]),
    ],
)
def test_what_would_wait(wanted: list[Demand], nodes: list[Node], late: list[str]) -> None:
    assert [demand.name for demand, _ in waiting(wanted, nodes)] == late


@pytest.mark.parametrize(
    ("demand", "node", "reason"),
    [
        (Demand("a", 1, 4), _node(gpus=2), "4 GPUs on one node are wanted, and the largest node has 2"),
        (Demand("a", 1, 1), _node(), "1 GPUs on one node are wanted, and there is no node with any"),
        (Demand("a", 9, 0), _node(), "no node has 9 CPUs free beside the other replicas"),
        (Demand("a", 1, 0, 65 * GIB), _node(), "no node has 1 CPUs with 65.0 GiB free beside the other replicas"),
        (Demand("a", 1, 1), Node("n", 8, 0, GIB, 1), "no node has 1 GPUs and 1 CPUs free beside the other replicas"),
    ],
)
def test_the_reason_is_told(demand: Demand, node: Node, reason: str) -> None:
    assert waiting([demand], [node]) == [(demand, reason)]


def test_replicas_that_a_deployment_starts_with() -> None:
    actor = {"num_cpus": 2, "num_gpus": 1, "memory": 5}
    assert demands("m", {"ray_actor_options": actor, "num_replicas": 2}) == [Demand("m", 2, 1, 5)] * 2
    scaling = {"autoscaling_config": {"initial_replicas": 3, "max_replicas": 9}}
    assert len(demands("m", {"ray_actor_options": actor, **scaling})) == 3


@pytest.mark.parametrize(("needed", "count"), [(1, 1), (100, 1), (101, 2), (400, 4), (401, 8), (800, 8), (801, None)])
def test_fewest_gpus_that_hold_a_model(needed: int, count: int | None) -> None:
    found = fit(needed, 100)
    assert found.count == count
    assert found.spare_bytes == (count or COUNTS[-1]) * 100 - needed


def test_several_gpus_keep_room_for_the_largest_part() -> None:
    assert [fit(needed, 100, largest=30).count for needed in (100, 140, 141, 280, 561)] == [1, 2, 4, 4, None]


def test_the_kind_of_gpu_of_a_node_is_told_by_ray() -> None:
    from ray.util.accelerators import accelerators

    names = {value for name, value in vars(accelerators).items() if name[0] != "_" and isinstance(value, str)}
    assert set(KNOWN) <= names
    assert kind_of_node({"CPU": 8, "GPU": 1, "accelerator_type:L4": 1}) == KNOWN["L4"]
    assert kind_of_node({"accelerator_type:H100": 1, "accelerator_type:T4": 1}) == KNOWN["T4"]
    assert kind_of_node({"CPU": 8, "accelerator_type:XYZ": 1}) is None
