"""``pipeline-graph plan``: what models need, before anything is started; and the warning before ``serve run``."""

import argparse
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from cluster.applications import configured, own_applications, read_file
from cluster.plan.capacity import SLACK, Demand, Node, demands, of_cluster, of_this_machine, waiting
from cluster.plan.gpus import KNOWN, Gpu, supply_of
from deployments.config import ModelConfig
from deployments.errors import ConfigError

HELP = "what a model, or every model of a config file, needs and where it fits, from its headers alone"
_UNREACHABLE = (OSError, RuntimeError)  # what `_knock` and `ray.init` raise
_KNOCK_S = 5.0


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of ``pipeline-graph plan``."""
    command.add_argument("target", metavar="MODEL|CONFIG", help="a model, as `model:` has it, or a .yaml file")
    command.add_argument("--task", help="of a model, if it does not tell")
    command.add_argument("--dtype", default="auto", help="of a model: auto, float32, float16, bfloat16")
    command.add_argument("--quantization", default="none", help="of a model: none, 8bit, 4bit")
    command.add_argument("--gpu", choices=sorted(KNOWN), help="the kind of GPU to plan for")
    command.add_argument("--cluster", action="store_true", help="say what of it would wait in the running Ray cluster")
    command.add_argument("--address", help="of that cluster (default: RAY_ADDRESS, or the one on this machine)")


def run(arguments: argparse.Namespace) -> int:
    """Print the plan; returns the exit status: 0, 1 where replicas would wait, 2 for mistakes."""
    from cluster.plan.source import PlanError

    try:
        applications = _applications(arguments)
        gpu = KNOWN[arguments.gpu] if arguments.gpu else None
        for model in [model for models, _ in applications for model in models]:
            print(_planned(model, gpu), end="\n\n", flush=True)
    except (ConfigError, PlanError) as error:
        print(error, file=sys.stderr)
        return 2
    if not arguments.cluster:
        return 0
    try:
        return _compared(applications, arguments.address)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except _UNREACHABLE as error:
        print(f"the Ray cluster does not answer: {error}", file=sys.stderr)
        return 2


def _compared(applications: Sequence[tuple[list[ModelConfig], float]], address: str | None) -> int:
    """What would wait in the running cluster; the exit status."""
    with connected(address) as nodes:
        if nodes is None:
            print("no Ray cluster is running here; RAY_ADDRESS or --address names another", file=sys.stderr)
            return 2
        late = list(told(applications, nodes))
        print(*_free(nodes), *(late or ["  everything would start at once"]), sep="\n")
    return 1 if late else 0


def _applications(arguments: argparse.Namespace) -> list[tuple[list[ModelConfig], float]]:
    """Models of each application, and the CPUs of its routers.

    Raises:
        ConfigError: with every mistake.
    """
    from graph.resolve import configure

    if arguments.target.endswith((".yaml", ".yml")):
        return read_applications(Path(arguments.target))
    given = {"model": arguments.target, "dtype": arguments.dtype, "quantization": arguments.quantization}
    stated = {key: value for key, value in given.items() if value not in ("auto", "none")}
    config = configure({"models": [stated | ({"task": arguments.task} if arguments.task else {})]})
    return [(list(config.models), 0.0)]


def read_applications(path: Path) -> list[tuple[list[ModelConfig], float]]:
    """Models of each application of a config file, and the CPUs of its routers.

    Raises:
        ConfigError: the file or an application has mistakes.
    """
    configs = [configured(application) for _, application in own_applications(read_file(path))]
    return [(list(config.models), config.router.num_cpus * config.router.num_replicas) for config in configs]


def _planned(model: ModelConfig, gpu: Gpu | None) -> str:
    from cluster.plan.needs import ModelNeeds
    from cluster.plan.report import report
    from cluster.plan.source import PlanError
    from deployments.load import resolve_model
    from deployments.model_ref import ModelReferenceError

    if model.task == "fake":
        return f"{model.name}: fake, without a model"
    try:
        return report(ModelNeeds(model, resolve_model(model)), gpu)
    except ModelReferenceError as error:
        raise PlanError(str(error)) from None


@contextmanager
def connected(address: str | None) -> Iterator[list[Node] | None]:
    """The nodes of the cluster that ``serve run`` would use; None where it would start one."""
    import ray
    from ray._private.services import canonicalize_bootstrap_address

    if ray.is_initialized():
        yield of_cluster()
        return
    found = address or os.environ.get("RAY_ADDRESS") or canonicalize_bootstrap_address(None)
    if found is None or found == "local":
        yield None
        return
    _knock(found)
    ray.init(address=found, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    try:
        yield of_cluster()
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Ray itself goes on trying for minutes where nobody listens.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdigit():  # else a name like ``auto``, or another scheme
        socket.create_connection((host.removeprefix("ray://"), int(port)), _KNOCK_S).close()


def told(applications: Sequence[tuple[list[ModelConfig], float]], nodes: Sequence[Node]) -> Iterator[str]:
    """A line for each kind of replica that would wait for a node.

    Raises:
        ConfigError: a model with ``tp_plan`` needs more GPUs than any node has.
    """
    from cluster.options import serve_options, with_gpus

    supply = supply_of((len(node.gpus), node.kind) for node in nodes)
    wanted: list[Demand] = []
    for models, router_cpus in applications:
        wanted.append(Demand("router", router_cpus, 0))
        for model in {model.deployment: model for model in models}.values():  # those of a group share its replicas
            wanted += demands(model.deployment, serve_options(with_gpus(model, lambda: supply)))
    late = waiting(wanted, nodes)
    for name, reason in dict.fromkeys((demand.name, reason) for demand, reason in late):
        count = sum((demand.name, why) == (name, reason) for demand, why in late)
        replicas = "1 replica" if count == 1 else f"{count} replicas"
        yield f"  {name}: {replicas} would wait: {reason}"


def _free(nodes: Sequence[Node]) -> Iterator[str]:
    yield f"Ray cluster of {len(nodes)} nodes, free now:" if len(nodes) != 1 else "Ray cluster of one node, free now:"
    for node in nodes:
        kind = f" ({node.kind.name})" if node.kind is not None else ""
        gpus = f"{_gpus(node)} of {len(node.gpus)} GPUs{kind}"
        yield f"  {node.name}: {node.cpus:g} CPUs, {gpus}, {node.memory_bytes / 2**30:.1f} GiB"


def _gpus(node: Node) -> str:
    """Whole ones as one number, and what is left of each other one, as no replica gets parts of two: ``2 + 0.4``."""
    whole = sum(left > 1 - SLACK for left in node.gpus)
    parts = [f"{left:g}" for left in node.gpus if SLACK < left <= 1 - SLACK]
    return " + ".join([*([str(whole)] if whole or not parts else []), *parts])


def warn(path: Path, rest: Sequence[str]) -> None:
    """Say on stderr which replicas would wait for resources, before ``serve run`` waits for them without a word."""
    address = next((after for option, after in pairwise(rest) if option in ("--address", "-a")), None)
    if address is not None and "://" in address:
        return  # a client connection, or the dashboard's: nothing is known here of that cluster
    try:
        with connected(address) as nodes:
            late = list(told(read_applications(path), of_this_machine() if nodes is None else nodes))
    except _UNREACHABLE:
        return  # `serve run` says so itself
    if late:
        where = "this machine" if nodes is None else "the Ray cluster"
        print(f"{where} has no room for all of it now:", *late, sep="\n", file=sys.stderr, flush=True)
