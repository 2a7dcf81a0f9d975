"""API keys on a real server, sent by the clients that people have."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.serve.cluster import deploy, until
from tests.serve.gate import Gate
from tests.serve.minute import early_in_a_minute

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "sha256": hashlib.sha256(f"key of {name}".encode()).hexdigest(), **more}


def headers(name: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer key of {name}", **more}


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    path.write_text(yaml.safe_dump([entry("visitor")]))
    return path


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """Of the model ``slow``."""
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def server(url: str, keys_file: Path, gate: Gate) -> Any:
    small = {"task": "fake", "resources": {"num_cpus": 0.1}}
    models = [{"name": "one", **small}, {"name": "two", **small}, {"name": "slow", **small, "init": gate.init}]
    models.append({"name": "health", **small})
    keys = [
        entry("all"),
        entry("only-one", models=["one"]),
        entry("few", requests_per_minute=2),
        entry("single", concurrent=1),
        entry("later", priority="low"),
    ]
    deploy(url, {"models": models, "access": {"keys": keys, "keys_file": str(keys_file)}})
    yield url
    deploy(url, {"models": [{"name": "one", **small}]})  # for whoever comes next: the router lives on


def ask(server: str, name: str, key: str, **more: str) -> httpx.Response:
    return httpx.post(f"{server}/models/{name}", json={"inputs": "a"}, headers=headers(key, **more), timeout=60)


def test_without_a_key_only_health_answers(server: str) -> None:
    for path in ("/", "/models", "/models/one/info", "/openapi.json", "/docs", "/v1/models", "/nowhere"):
        assert httpx.get(f"{server}{path}", timeout=30).status_code == 401, path
    for path in ("/health", "/ready", "/models/one/health"):
        assert httpx.get(f"{server}{path}", timeout=30).status_code == 200, path
    nowhere = f"{server}/models/nowhere/health"
    assert "two" in httpx.get(nowhere, headers=headers("all"), timeout=30).json()["error"]
    unknown = httpx.get(nowhere, timeout=30)
    assert (unknown.status_code, "two" in unknown.text) == (404, False)
    for name in ("one", "health"):
        assert ask(server, name, "nobody").status_code == 401


def test_the_clients_send_their_key(server: str) -> None:
    where = f"{server}/models/one"
    mine = InferenceClient(model=where, token="key of all", provider="hf-inference")
    assert mine.get_endpoint_info()["name"] == "one"
    with pytest.raises(HfHubHTTPError, match="not valid"):
        InferenceClient(model=where, token="hf_else", provider="hf-inference").get_endpoint_info()
    served = openai.OpenAI(base_url=f"{server}/v1", api_key="key of all").models.list()
    assert [model.id for model in served] == ["one", "two", "slow", "health"]
    with pytest.raises(openai.AuthenticationError, match="not valid"):
        openai.OpenAI(base_url=f"{server}/v1", api_key="sk-else").models.list()


def test_a_key_sees_its_models_alone(server: str) -> None:
    assert ask(server, "one", "only-one").status_code == 200
    assert ask(server, "two", "only-one").status_code == ask(server, "none", "only-one").status_code == 404
    assert "two" not in ask(server, "none", "only-one").text
    for path in ("/", "/models", "/openapi.json", "/docs", "/v1/models"):
        assert "two" in httpx.get(f"{server}{path}", headers=headers("all"), timeout=30).text, path
        assert "two" not in httpx.get(f"{server}{path}", headers=headers("only-one"), timeout=30).text, path


def test_a_key_has_its_requests_of_a_minute(server: str) -> None:
    early_in_a_minute()
    statuses = [ask(server, "one", "few").status_code for _ in range(5)]
    assert statuses.count(200) == 2
    assert statuses.count(429) == 3
    refused = ask(server, "one", "few")
    assert refused.json()["error_type"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 61


def test_a_key_has_its_requests_at_a_time(server: str, gate: Gate) -> None:
    with ThreadPoolExecutor(1) as caller, gate.closed():
        running = caller.submit(ask, server, "slow", "single")
        gate.busy()
        assert ask(server, "one", "single").status_code == 429
    assert running.result().status_code == 200
    until(lambda: ask(server, "one", "single").status_code == 200)  # its place is given back


def test_keys_come_and_go_without_a_restart(server: str, keys_file: Path) -> None:
    assert ask(server, "one", "visitor").status_code == 200
    beside = keys_file.with_name("new")
    beside.write_text(yaml.safe_dump([entry("guest")]))
    os.replace(beside, keys_file)
    until(lambda: ask(server, "one", "guest").status_code == 200)
    assert ask(server, "one", "visitor").status_code == 401
    assert ask(server, "one", "all").status_code == 200


def test_a_request_may_shorten_its_time(server: str, gate: Gate) -> None:
    with gate.closed():
        late = ask(server, "slow", "all", **{"x-request-timeout": "0.3"})
    assert (late.status_code, late.json()["error_type"]) == (504, "deadline_exceeded")
    assert ask(server, "slow", "all", **{"x-request-timeout": "30"}).status_code == 200
    assert ask(server, "slow", "all", **{"x-request-timeout": "soon"}).status_code == 400


def test_a_later_key_is_answered_too(server: str) -> None:
    assert ask(server, "one", "later").status_code == 200


def test_the_document_tells_of_keys(server: str) -> None:
    document = httpx.get(f"{server}/openapi.json", headers=headers("all"), timeout=30).json()
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    call = document["paths"]["/models/one"]["post"]
    assert call["security"] == [{"key": []}]
    assert {"401", "429"} <= set(call["responses"])
    assert "security" not in document["paths"]["/health"]["get"]
