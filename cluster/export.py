"""One's own configuration as manifests for Kubernetes: ``pipeline-graph export --kubernetes``.

The pods, probes and volumes are those of ``cluster/kubernetes``; what changes is the Serve configuration in them, the
name of the image, and whether and how large GPU and CPU workers are.
"""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cluster.applications import configured, own_applications, read_file
from cluster.options import with_gpus
from deployments.config import ModelConfig

KEYS_FILE = "/etc/pipeline-graph/keys/keys.yaml"
"""Where the Secret with the API keys is mounted."""
GPU = "nvidia.com/gpu"
_FILES = Path(__file__).parent / "kubernetes"
_BESIDE_GIB = 4  # Ray's own processes, the proxy, and a router
_BUILT_IN = "~/.cache/pipeline-graph/models/"  # is in the image


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block, and everything written out where it is used."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def manifests(path: Path, image: str = "pipeline-graph:0.1.0") -> str:
    """The RayService and what it stands on, as YAML documents for ``kubectl apply -f -``; the Secret is not among them.

    Args:
        path: a configuration.
        image: repository and tag; the images are called so with ``-cpu`` and ``-cuda`` behind.

    Raises:
        ConfigError: the configuration has mistakes.
    """
    service = ray_service(read_file(path), image)
    support = yaml.safe_load_all((_FILES / "support.yaml").read_text())
    return yaml.dump_all([*support, service], Dumper=_Dumper, sort_keys=False, width=120)


def ray_service(content: dict[str, Any], image: str) -> dict[str, Any]:
    """The RayService of a configuration; a group of workers with GPUs only where a model asks for them."""
    service: dict[str, Any] = yaml.safe_load((_FILES / "rayservice.yaml").read_text())
    cluster = service["spec"]["rayClusterConfig"]
    models = list(_models(content))
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    _need(groups["cpu"], "cpu", max((model.resources.num_cpus for model in models), default=0))
    _need_memory(groups["cpu"], models)
    on_gpus = {id(model): gpus for model in models if (gpus := _gpus(model))}
    if on_gpus:
        _need(groups["gpu"], GPU, max(on_gpus.values()))
        _need(groups["gpu"], "cpu", max(model.resources.num_cpus for model in models if id(model) in on_gpus))
        _need_memory(groups["gpu"], [model for model in models if id(model) in on_gpus])
    else:
        cluster["workerGroupSpecs"].remove(groups["gpu"])
    for spec in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = spec["template"]["spec"]["containers"]
        container["image"] = f"{image}-{'cuda' if spec.get('groupName') == 'gpu' else 'cpu'}"
    service["spec"]["serveConfigV2"] = yaml.dump(for_cluster(content), Dumper=_Dumper, sort_keys=False, width=120)
    return service


def for_cluster(content: dict[str, Any]) -> dict[str, Any]:
    """The configuration as it runs in pods.

    It listens for other pods, logs JSON unless it says otherwise, and has the mounted keys where it names none.
    """
    content = copy.deepcopy(content)
    content.setdefault("logging_config", {"encoding": "JSON"})
    content["http_options"] = {**(content.get("http_options") or {}), "host": "0.0.0.0", "port": 8000}
    for _, application in own_applications(content):
        access = application["args"].setdefault("access", {})
        if not (access.get("open") or access.get("keys") or access.get("keys_file")):
            access["keys_file"] = KEYS_FILE
    return content


def left_behind(content: dict[str, Any]) -> list[str]:
    """Models that lie in a folder of this machine, so that no pod has them."""
    return [
        str(model.name)
        for model in _models(content)
        if model.model and model.model.startswith(("/", "~", "./", "../")) and not model.model.startswith(_BUILT_IN)
    ]


def _models(content: dict[str, Any]) -> Iterator[ModelConfig]:
    for _, application in own_applications(content):
        yield from configured(application).models


def _gpus(model: ModelConfig) -> float:
    """GPUs of a replica: as configured or named; at least one where the placement on GPUs is left to accelerate."""
    if model.resources.num_gpus is not None:
        return model.resources.num_gpus
    named = with_gpus(model, lambda: None).resources.num_gpus
    return named or float(isinstance(model.device_map, str) or model.tp_plan is not None)


def _need_memory(group: dict[str, Any], models: list[ModelConfig]) -> None:
    """A worker has the memory that one replica reserves, and some for the processes of Ray beside it."""
    reserved = max((model.resources.memory_bytes or 0 for model in models), default=0)
    (container,) = group["template"]["spec"]["containers"]
    for bound in container["resources"].values():
        least = math.ceil(reserved / 2**30) + _BESIDE_GIB if reserved else 0
        bound["memory"] = f"{max(int(bound['memory'].removesuffix('Gi')), least)}Gi"


def _need(group: dict[str, Any], resource: str, least: float) -> None:
    """A worker has at least what one replica reserves."""
    (container,) = group["template"]["spec"]["containers"]
    for bound in container["resources"].values():
        bound[resource] = str(max(int(bound[resource]), math.ceil(least)))
