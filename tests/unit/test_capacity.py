"""Which replicas find room on which nodes: placed as Ray would, without Ray."""

import pytest

from cluster.plan.capacity import Demand, Node, demands, remainders, waiting
from cluster.plan.gpus import COUNTS, KNOWN, Supply, fit, kind_of_node, supply_of

GIB = 2**30


def _node(cpus: float = 8, gpus: int = 0, memory: float = 64 * GIB) -> Node:
    return Node("n", cpus, (1.0,) * gpus, memory)


def _used(*left: float) -> Node:
    """A node with so much left of each GPU."""
    return Node("n", 8, left, 64 * GIB)


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
        ([Demand("most", 0.1, 0.6)] * 3, [_node(gpus=2)], ["most"]),  # 1.8 of 2, and no GPU has two
        ([Demand("most", 0.1, 0.6), Demand("rest", 0.1, 0.4)] * 2, [_node(gpus=2)], []),
        ([Demand("whole", 1, 1)], [_used(0.5, 0.5)], ["whole"]),
        ([Demand("half", 1, 0.5)] * 2, [_used(0.5, 0.5)], []),
        ([Demand("whole", 1, 1), Demand("half", 1, 0.5)], [_used(1, 0.5)], []),  # the half leaves the whole one alone
        ([Demand("two", 1, 2)], [_used(1, 0.9, 0, 1)], []),
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
        (Demand("a", 1, 1), _used(0), "no node has 1 GPUs and 1 CPUs free beside the other replicas"),
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


@pytest.mark.parametrize(
    ("free", "used", "left"),
    [
        (1.0, {0: 0.5, 1: 0.5}, (0.5, 0.5)),
        (0.8, {0: 0.6, 1: 0.6}, (0.4, 0.4)),
        (1.0, {}, (0.0, 1.0)),  # a placement group has the other, and runs nothing in it yet
        (0.5, {1: 0.5}, (0.0, 0.5)),
        (0.0, {0: 1.0}, (0.0, 0.0)),
    ],
)
def test_what_is_left_of_each_gpu_of_two(free: float, used: dict[int, float], left: tuple[float, ...]) -> None:
    assert remainders(2, free, used) == pytest.approx(left)


def test_what_the_nodes_of_a_cluster_offer() -> None:
    l4, t4 = KNOWN["L4"], KNOWN["T4"]
    assert supply_of([(0, None), (2, l4), (1, t4)]) == Supply(t4, 2)
    assert supply_of([(0, None)]) is None
    assert supply_of([(4, None)]) == Supply(min(KNOWN.values(), key=lambda gpu: gpu.memory_gib), 4)


def test_the_kind_of_gpu_of_a_node_is_told_by_ray() -> None:
    from ray.util.accelerators import accelerators

    names = {value for name, value in vars(accelerators).items() if name[0] != "_" and isinstance(value, str)}
    assert set(KNOWN) <= names
    assert kind_of_node({"CPU": 8, "GPU": 1, "accelerator_type:L4": 1}) == KNOWN["L4"]
    assert kind_of_node({"accelerator_type:H100": 1, "accelerator_type:T4": 1}) == KNOWN["T4"]
    assert kind_of_node({"CPU": 8, "accelerator_type:XYZ": 1}) is None
