"""What `cluster/` holds for Kubernetes, images and clouds, each against its own schema, parser or linter."""

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.cli import check_file, main, read_file
from cluster.export import KEYS_FILE, for_cluster, left_behind, manifests

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "cluster/kubernetes"
BIN = Path(sys.executable).parent
# KubeRay's own fields (ray.io/v1, of its Go types); pods in them are Kubernetes' own
KUBERAY = {
    "RayService": {
        *("serveConfigV2", "rayClusterConfig", "serveService", "upgradeStrategy", "rayClusterDeletionDelaySeconds"),
        *("excludeHeadPodFromServeSvc", "suspend", "managedBy"),
    },
    "cluster": {
        *("headGroupSpec", "workerGroupSpecs", "rayVersion", "enableInTreeAutoscaling", "autoscalerOptions"),
        *("headServiceAnnotations", "suspend", "managedBy", "gcsFaultToleranceOptions", "authOptions"),
        *("upgradeStrategy", "networkPolicy", "tlsOptions", "historyServerOptions"),
    },
    "head": {"serviceType", "headService", "enableIngress", "rayStartParams", "template", "resources", "labels"},
    "worker": {
        *("groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams", "template"),
        *("scaleStrategy", "idleTimeoutSeconds", "suspend", "resources", "labels"),
    },
    "autoscaler": {
        *("resources", "image", "imagePullPolicy", "env", "envFrom", "volumeMounts", "securityContext"),
        *("idleTimeoutSeconds", "upscalingMode", "version", "command", "args"),
    },
    "auth": {"mode", "secretName", "enableK8sTokenAuth"},
}
GPU = "nvidia.com/gpu"


def documents(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}


def written() -> str:
    return "\n---\n".join(path.read_text() for path in sorted(KUBERNETES.glob("*.yaml")))


def exported(tmp_path: Path, *models: dict[str, Any], **args: Any) -> str:
    application = {
        "name": "mine",
        "route_prefix": "/",
        "import_path": "graph.app:build",
        "args": {"models": [*models], **args},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"applications": [application]}))
    return manifests(path, "registry.example/pg:1")


def service_of(text: str) -> dict[str, Any]:
    return documents(text)["RayService", "pipeline-graph"]["spec"]


def groups(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = service["rayClusterConfig"]
    return {"head": cluster["headGroupSpec"], **{each["groupName"]: each for each in cluster["workerGroupSpecs"]}}


def pods(service: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, pod spec and its one container of every group."""
    for name, group in groups(service).items():
        (container,) = group["template"]["spec"]["containers"]
        yield name, group["template"]["spec"], container


SMALL = {"name": "small", "task": "fill-mask"}
LARGE = {"name": "large", "task": "fill-mask", "resources": {"num_cpus": 9, "num_gpus": 2}}


@pytest.fixture(params=["written", "of the default", "of others"])
def text(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "written":
        return written()
    return manifests(ROOT / "serve_config.yaml") if "default" in request.param else exported(tmp_path, SMALL, LARGE)


def test_what_kubernetes_knows_fits_its_schemas(text: str) -> None:
    known = {
        **documents(text),
        **{
            ("Pod", name): {"apiVersion": "v1", "kind": "Pod", **group["template"], "metadata": {"name": name}}
            for name, group in groups(service_of(text)).items()
        },
    }
    known.pop(("RayService", "pipeline-graph"))
    assert {kind for kind, _ in known} >= {"PersistentVolumeClaim", "PodDisruptionBudget", "Pod"}
    for each in known.values():
        kubernetes_validate.validate(each, "1.37", strict=True)


def test_what_kuberay_knows_has_its_field_names(text: str) -> None:
    service = service_of(text)
    cluster = service["rayClusterConfig"]
    assert documents(text)["RayService", "pipeline-graph"]["apiVersion"] == "ray.io/v1"
    assert set(service) <= KUBERAY["RayService"]
    assert set(cluster) <= KUBERAY["cluster"]
    assert set(cluster["headGroupSpec"]) <= KUBERAY["head"]
    assert all(set(worker) <= KUBERAY["worker"] for worker in cluster["workerGroupSpecs"])
    assert set(cluster["autoscalerOptions"]) <= KUBERAY["autoscaler"]
    assert set(cluster["authOptions"]) <= KUBERAY["auth"]
    assert cluster["authOptions"]["mode"] in ("token", "disabled")
    assert cluster["autoscalerOptions"]["upscalingMode"] in ("Default", "Aggressive", "Conservative")
    assert cluster["autoscalerOptions"]["version"] in ("v1", "v2")
    assert service["upgradeStrategy"]["type"] in ("NewCluster", "None")
    for group in groups(service).values():  # Go reads a map of texts, no numbers
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_the_embedded_configuration_is_ours() -> None:
    embedded = yaml.safe_load(service_of(written())["serveConfigV2"])
    ours = read_file(ROOT / "serve_config.yaml")
    assert embedded == for_cluster(ours)
    (mine,) = embedded["applications"]
    (theirs,) = ours["applications"]
    assert mine["args"].pop("access") == {"keys_file": KEYS_FILE}  # and nothing else but the address differs
    assert mine == theirs


def test_the_embedded_configuration_passes_the_check(text: str, tmp_path: Path) -> None:
    path = tmp_path / "embedded.yaml"
    path.write_text(service_of(text)["serveConfigV2"])
    assert check_file(path)
    assert read_file(path)["http_options"] == {"host": "0.0.0.0", "port": 8000}


def test_head_has_no_gpu_and_takes_no_replica(text: str) -> None:
    head = groups(service_of(text))["head"]
    assert (head["rayStartParams"]["num-cpus"], head["rayStartParams"]["num-gpus"]) == ("0", "0")
    (container,) = head["template"]["spec"]["containers"]
    assert GPU not in container["resources"]["limits"]
    assert service_of(text)["rayClusterConfig"]["enableInTreeAutoscaling"] is True


def test_every_pod_is_probed_without_rights_and_with_the_volumes(text: str) -> None:
    found = documents(written())
    for name, spec, container in pods(service_of(text)):
        assert container["livenessProbe"]["httpGet"]["port"] == 52365, name
        assert container["readinessProbe"]["httpGet"]["port"] == (8265 if name == "head" else 8000)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert {mount["name"] for mount in container["volumeMounts"]} == {each["name"] for each in spec["volumes"]}
        claimed = {each["persistentVolumeClaim"]["claimName"] for each in spec["volumes"] if "secret" not in each}
        secret = {each["secret"]["secretName"] for each in spec["volumes"] if "secret" in each}
        assert {kind for kind, name in found if name in claimed | secret} == {"PersistentVolumeClaim", "Secret"}
        (keys,) = (mount for mount in container["volumeMounts"] if mount["name"] == "keys")
        assert KEYS_FILE.startswith(keys["mountPath"])


def test_budgets_select_the_pods(text: str) -> None:
    budgets = [each["spec"] for (kind, _), each in documents(text).items() if kind == "PodDisruptionBudget"]
    for name, group in groups(service_of(text)).items():
        labels = group["template"]["metadata"]["labels"].items()
        meant = [budget for budget in budgets if budget["selector"]["matchLabels"].items() <= labels]
        assert len(meant) == 1, name


def test_the_probed_paths_are_rays() -> None:
    """Read in Ray's sources, where each route is declared."""
    source = Path(ray.__file__).parent
    paths = {each["httpGet"]["path"] for _, _, box in pods(service_of(written())) for each in _probes(box)}
    declared = "".join(
        (source / file).read_text()
        for file in ("dashboard/modules/reporter/healthz_agent.py", "dashboard/modules/reporter/reporter_head.py")
    )
    assert {path for path in paths if f'"{path}"' not in declared} == {"/-/healthz"}
    assert '"/-/healthz"' in "".join(path.read_text() for path in (source / "serve/_private").glob("*.py"))


def _probes(container: dict[str, Any]) -> list[dict[str, Any]]:
    return [container["livenessProbe"], container["readinessProbe"]]


def test_workers_follow_the_models(tmp_path: Path) -> None:
    without = groups(service_of(exported(tmp_path, SMALL)))
    assert set(without) == {"head", "cpu"}
    assert without["cpu"]["template"]["spec"]["containers"][0]["image"] == "registry.example/pg:1-cpu"
    both = groups(service_of(exported(tmp_path, SMALL, LARGE)))
    (container,) = both["gpu"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/pg:1-cuda"
    assert container["resources"]["limits"].items() >= {GPU: "2", "cpu": "9"}.items()
    assert container["resources"]["requests"].items() >= {GPU: "2", "cpu": "9"}.items()


def test_workers_have_the_memory_that_replicas_reserve(tmp_path: Path) -> None:
    def memory(group: dict[str, Any]) -> set[int]:
        (container,) = group["template"]["spec"]["containers"]
        return {int(each["memory"].removesuffix("Gi")) for each in container["resources"].values()}

    def asking(model: dict[str, Any], gib: int) -> dict[str, Any]:
        return {**model, "resources": {**model.get("resources", {}), "memory_bytes": gib * 2**30}}

    before = groups(service_of(exported(tmp_path, SMALL, LARGE)))
    found = groups(service_of(exported(tmp_path, asking(SMALL, 64), {**LARGE, "name": "other"})))
    (cpu,) = memory(found["cpu"])
    assert cpu > 64
    assert memory(found["gpu"]) == memory(before["gpu"])
    (gpu,) = memory(groups(service_of(exported(tmp_path, SMALL, asking(LARGE, 200))))["gpu"])
    assert gpu > 200
    assert memory(groups(service_of(exported(tmp_path, asking(SMALL, 1))))["cpu"]) == memory(before["cpu"])


@pytest.mark.parametrize(
    ("placed", "expected"),
    [
        ({"device": "cuda"}, "1"),
        ({"device_map": "auto"}, "1"),
        ({"device_map": {"": 1}}, "2"),
        ({"device": "cpu"}, None),
        ({"device_map": "auto", "resources": {"num_gpus": 0}}, None),
    ],
)
def test_gpus_that_the_placement_names_are_asked_for(placed: Any, expected: str | None, tmp_path: Path) -> None:
    found = groups(service_of(exported(tmp_path, {**SMALL, **placed})))
    assert ("gpu" in found) == (expected is not None)
    if expected is not None:
        assert found["gpu"]["template"]["spec"]["containers"][0]["resources"]["limits"][GPU] == expected


@pytest.mark.parametrize(
    "access", [{"open": True}, {"keys": [{"name": "a", "sha256": "0" * 64}]}, {"keys_file": "/models/keys.yaml"}]
)
def test_access_that_is_settled_stays(access: dict[str, Any], tmp_path: Path) -> None:
    (application,) = yaml.safe_load(service_of(exported(tmp_path, SMALL, access=access))["serveConfigV2"])[
        "applications"
    ]
    assert application["args"]["access"] == access


def test_applying_the_export_again_does_not_take_the_keys_away(tmp_path: Path) -> None:
    assert "Secret" not in {kind for kind, _ in documents(exported(tmp_path, SMALL))}
    (secret,) = (each for (kind, _), each in documents(written()).items() if kind == "Secret")
    assert yaml.safe_load(secret["stringData"][Path(KEYS_FILE).name]) == []  # lets nobody in


def test_the_command_prints_it_and_names_models_that_stay_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    local = {"name": "mine", "task": "fill-mask", "model": "/data/mine"}
    exported(tmp_path, SMALL, local)
    assert left_behind(read_file(path)) == ["mine"]
    assert main(["export", "--kubernetes", str(path), "--image", "registry.example/pg:1"]) == 0
    shown = capsys.readouterr()
    assert shown.out == manifests(path, "registry.example/pg:1")
    assert "mine lies in a folder of this machine" in shown.err


def test_a_wrong_configuration_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("applications:\n- import_path: graph.app:build\n  args: {models: [{task: nre}]}\n")
    assert main(["export", "--kubernetes", str(path)]) == 2
    assert "models[0].task" in capsys.readouterr().err


def test_the_file_for_aws_fits_rays_schema() -> None:
    config = yaml.safe_load((ROOT / "cluster/aws.yaml").read_text())
    schema = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    validate_config(prepare_config(config))  # Ray's own checks beyond the schema
    assert config["available_node_types"][config["head_node_type"]]["resources"] == {"CPU": 0}
    assert all((ROOT / local).exists() for local in config["file_mounts"].values() if not local.startswith("~"))


def recipe() -> str:
    return (ROOT / "cluster/image/Dockerfile").read_text()


def test_the_image_recipe_passes_its_linter() -> None:
    run = subprocess.run([BIN / "hadolint", ROOT / "cluster/image/Dockerfile"], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "")


def test_the_image_has_neither_root_nor_build_tools() -> None:
    result = recipe().split("\nFROM ")[-1]
    assert re.findall(r"^USER (\S+)", result, re.MULTILINE)[-1] == "1000"
    assert not re.search(r"build-essential|gcc|make\b|git\b", result)
    assert "pip uninstall -y pip" in result


def test_the_image_copies_what_there_is() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", recipe(), re.MULTILINE):
        *sources, _ = (word for word in line.split() if not word.startswith("--"))
        for source in sources:
            assert (ROOT / source).exists()
            assert source.split("/")[0] in kept


def test_versions_are_those_of_the_release() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    for path in (*KUBERNETES.glob("*.yaml"), ROOT / "cluster/aws.yaml", ROOT / "cluster/cli.py"):
        assert set(re.findall(r"pipeline-graph:([\d.]+)", path.read_text())) <= {version[1]}
    assert service_of(written())["rayClusterConfig"]["rayVersion"] == importlib.metadata.version("ray")
    (pinned,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert service_of(written())["rayClusterConfig"]["rayVersion"] == pinned
