"""A deployment's version changes with what it depends on, and Serve cannot overwrite it."""

import inspect
from typing import Any

import pytest
from ray import serve
from ray.serve._private import deploy_utils
from ray.serve._private.config import DeploymentConfig

from cluster import version
from cluster.version import pin_version


def _deployment(**options: Any) -> serve.Deployment:
    @serve.deployment
    class Model: ...

    return Model.options(**options)  # type: ignore[attr-defined, no-any-return]


def _pinned(key: dict[str, Any]) -> str:
    deployment = _deployment()
    pin_version(deployment, key)
    return str(deployment._deployment_config.version)


def test_equal_keys_give_equal_versions() -> None:
    assert _pinned({"a": 1, "b": {"c": [1]}}) == _pinned({"b": {"c": [1]}, "a": 1})


@pytest.mark.parametrize("key", [{}, {"a": 2}, {"a": "1"}, {"a": 1, "b": None}, {"a": [1]}])
def test_another_key_gives_another_version(key: dict[str, Any]) -> None:
    assert _pinned(key) != _pinned({"a": 1})


def test_another_release_gives_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _pinned({"a": 1})
    monkeypatch.setattr(version.importlib.metadata, "version", lambda _: "99.0")
    assert _pinned({"a": 1}) != before


def test_serve_cannot_overwrite_it() -> None:
    """``get_deploy_args`` assigns the hash of the whole application to ``deployment_config.version``."""
    assert "deployment_config.version = version" in inspect.getsource(deploy_utils.get_deploy_args)
    deployment = _deployment()
    pin_version(deployment, {"a": 1})
    pinned = deployment._deployment_config.version
    deployment._deployment_config.version = "of the whole application"
    assert deployment._deployment_config.version == pinned


def test_everything_else_of_the_deployment_stays_and_can_change() -> None:
    deployment = _deployment(user_config={"x": 1}, max_ongoing_requests=7, num_replicas=3)
    before = deployment._deployment_config
    pin_version(deployment, {})
    config = deployment._deployment_config
    changed = {name for name in DeploymentConfig.model_fields if getattr(config, name) != getattr(before, name)}
    assert changed == {"version"}
    config.user_config = {"x": 2}
    assert config.user_config == {"x": 2}


def test_serve_can_send_it_to_its_controller() -> None:
    deployment = _deployment(user_config={"x": 1}, num_replicas=2)
    pin_version(deployment, {})
    received = DeploymentConfig.from_proto_bytes(deployment._deployment_config.to_proto_bytes())
    assert (received.version, received.user_config, received.num_replicas) == (
        deployment._deployment_config.version,
        {"x": 1},
        2,
    )
