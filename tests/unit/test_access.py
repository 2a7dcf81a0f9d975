"""API keys: which are valid, what each may do, and where a server without any starts."""

import hashlib
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from deployments.errors import AuthenticationError, ConfigError, MalformedRequestError, RateLimitedError
from graph.access.config import VARIABLE, AccessConfig, KeyConfig
from graph.access.gate import Gate
from graph.access.keys import KeyRing, new_key
from graph.access.open import refuse_open
from graph.access.view import seen_by
from graph.config import read_config
from graph.middleware import HANDLERS, Guard, RequestId


def entry(name: str, key: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), **more}


def access(*keys: dict[str, Any], **more: Any) -> AccessConfig:
    return AccessConfig.model_validate({"keys": list(keys), **more})


def bearer(key: str) -> Headers:
    return Headers({"authorization": f"Bearer {key}"})


def test_a_new_key_is_long_and_never_the_same() -> None:
    made = [new_key() for _ in range(20)]
    assert len({key for key, _ in made}) == 20
    assert all(len(key) > 40 and hashlib.sha256(key.encode()).hexdigest() == digest for key, digest in made)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "é", "x" * 65])
def test_a_strange_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="letters"):
        access(entry(name, "k"))


def test_a_plain_key_is_no_digest_and_is_not_repeated() -> None:
    args = {"models": [{"task": "fake"}], "access": {"keys": [{"name": "a", "sha256": "pg-secret"}]}}
    with pytest.raises(ConfigError, match="SHA-256") as refused:
        read_config(args)
    assert "pg-secret" not in str(refused.value)


def test_keys_are_found_wherever_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(yaml.safe_dump([entry("file", "in file")]))
    monkeypatch.setenv(VARIABLE, f"env:{hashlib.sha256(b'in env').hexdigest()}, ")
    ring = KeyRing(access(entry("config", "in config"), keys_file=str(path)))
    found = {key: ring.find(key) for key in ("in file", "in env", "in config", "elsewhere", "")}
    assert {key: one and one.name for key, one in found.items()} == {
        "in file": "file",
        "in env": "env",
        "in config": "config",
        "elsewhere": None,
        "": None,
    }


@pytest.mark.parametrize("text", ["env", "env:", "env:abc", f"a b:{'0' * 64}"])
def test_a_variable_with_mistakes_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigError, match=VARIABLE):
        KeyRing(access())


def test_two_keys_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="called same"):
        KeyRing(access(entry("same", "1"), entry("same", "2")))


def test_keys_come_and_go_with_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, now = tmp_path / "keys.yaml", [100.0]
    monkeypatch.setattr("graph.access.keys.time.monotonic", lambda: now[0])

    def write(text: str) -> None:
        beside = tmp_path / "new"
        beside.write_text(text)
        os.replace(beside, path)
        now[0] += 2

    write(yaml.safe_dump([entry("one", "first")]))
    ring = KeyRing(access(keys_file=str(path)))
    assert ring.find("first")
    assert not ring.find("second")
    write(yaml.safe_dump([entry("two", "second")]))
    assert ring.find("second")
    assert not ring.find("first")
    for mistake in ("- name: [", "- {name: three}", yaml.safe_dump([entry("a", "x"), entry("a", "y")])):
        write(mistake)
        assert ring.find("second"), mistake
    path.unlink()
    now[0] += 2
    assert ring.find("second")
    write("")
    assert not ring.find("second")
    assert ring.required  # an empty file does not open the door


@pytest.mark.parametrize("text", ["- name: [", "- {name: a, sha256: b}", "{name: a}", None])
def test_a_file_with_mistakes_stops_the_start(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"keys_file.*keys\.yaml"):
        KeyRing(access(keys_file=str(path)))


def test_without_keys_everybody_passes_whatever_they_send() -> None:
    with Gate(access()).passed("GET", "/models", bearer("hf_of_somebody")) as key:
        assert key is None


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer no"}, {"authorization": "Basic yes"}, {"x-api-key": ""}]
)
def test_without_a_valid_key_nobody_passes(headers: dict[str, str]) -> None:
    gate = Gate(access(entry("a", "yes")))
    with pytest.raises(AuthenticationError) as refused, gate.passed("GET", "/models", Headers(headers)):
        pass
    assert "yes" not in str(refused.value)
    for method in ("GET", "HEAD"):
        for path in ("/health", "/ready", "/models/x/health", "/models/health/health"):
            with gate.passed(method, path, Headers(headers)):
                pass


def test_who_sends_a_key_where_none_is_needed_is_known_and_not_counted() -> None:
    gate = Gate(access(entry("one", "k", requests_per_minute=1, concurrent=1)))
    for _ in range(3):
        with gate.passed("GET", "/ready", bearer("k")) as key, gate.passed("GET", "/ready", bearer("no")) as other:
            assert key is not None
            assert (key.name, other) == ("one", None)
    with gate.passed("GET", "/", bearer("k")):
        pass


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models/health"),  # a model of that name
        ("GET", "/models/health"),
        ("POST", "/models/x/health"),
        ("POST", "/ready"),
        ("GET", "/models/x/v1/models/health"),
        ("GET", "/models/x/health\n"),
        ("GET", "/models/x/y/health"),
        ("GET", "/prefix/health"),
    ],
)
def test_what_only_looks_like_health_needs_a_key(method: str, path: str) -> None:
    with pytest.raises(AuthenticationError), Gate(access(entry("a", "k"))).passed(method, path, Headers()):
        pass


@pytest.mark.parametrize("headers", [{"authorization": "bearer yes"}, {"x-api-key": "yes"}])
def test_a_key_is_read_from_both_headers(headers: dict[str, str]) -> None:
    with Gate(access(entry("a", "yes"))).passed("GET", "/", Headers(headers)) as key:
        assert key is not None
        assert key.name == "a"


def test_requests_of_a_minute_are_counted_for_each_key(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()  # which stands still: minutes are those of the clock, and the next must not begin here
    monkeypatch.setattr("limits.storage.memory.time", SimpleNamespace(time=lambda: now))
    gate = Gate(access(entry("few", "f", requests_per_minute=3), entry("many", "m")))
    for _ in range(3):
        with gate.passed("GET", "/", bearer("f")):
            pass
    with pytest.raises(RateLimitedError, match="3 requests") as refused, gate.passed("GET", "/", bearer("f")):
        pass
    assert 1 <= refused.value.retry_after_s <= 61
    with gate.passed("GET", "/", bearer("m")):
        pass
    gate.reconfigure(access(entry("few", "f", requests_per_minute=3)))
    with pytest.raises(RateLimitedError), gate.passed("GET", "/", bearer("f")):  # a new configuration is no new minute
        pass


def test_requests_at_a_time_are_counted_and_given_back() -> None:
    gate = Gate(access(entry("two", "t", concurrent=2)))
    with gate.passed("GET", "/", bearer("t")), gate.passed("GET", "/", bearer("t")):
        with pytest.raises(RateLimitedError, match="2 requests"), gate.passed("GET", "/", bearer("t")):
            pass
        with pytest.raises(ZeroDivisionError):
            raise ZeroDivisionError
    with pytest.raises(KeyError), gate.passed("GET", "/", bearer("t")):
        raise KeyError
    with gate.passed("GET", "/", bearer("t")), gate.passed("GET", "/", bearer("t")):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_nobody_else_reaches_loopback(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_SERVE_ENABLE_HA_PROXY", raising=False)
    refuse_open(access(), host)
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    with pytest.raises(ConfigError, match="HAProxy"):
        refuse_open(access(), host)
    refuse_open(access(open=True), host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "server.example"])
def test_a_server_that_others_reach_needs_keys(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_SERVE_ENABLE_HA_PROXY", raising=False)
    with pytest.raises(ConfigError, match="pipeline-graph key"):
        refuse_open(access(), host)
    refuse_open(access(open=True), host)
    refuse_open(access(entry("a", "k")), host)


class _Door:
    def __init__(self, gate: Gate) -> None:
        self.gate = gate


def _client(gate: Gate) -> TestClient:
    async def who(request: Request) -> JSONResponse:
        key: KeyConfig | None = request.state.key
        return JSONResponse(key and key.name)

    async def well(_: Request) -> JSONResponse:
        return JSONResponse("well")

    async def fails(_: Request) -> JSONResponse:
        raise MalformedRequestError("no")

    routes = [Route("/who", who), Route("/v1/who", who), Route("/health", well), Route("/v1/fails", fails)]
    middleware = [Middleware(RequestId), Middleware(Guard, door=_Door(gate))]
    return TestClient(Starlette(routes=routes, middleware=middleware, exception_handlers=HANDLERS))


def test_a_refusal_is_one_of_our_errors_and_on_openai_routes_one_of_theirs() -> None:
    client = _client(Gate(access(entry("a", "k"))))
    refused = client.get("/who")
    assert (refused.status_code, refused.json()["error_type"]) == (401, "authentication")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert client.get("/v1/who").json()["error"]["type"] == "authentication_error"
    assert client.get("/who", headers={"x-api-key": "k"}).json() == "a"


def test_pages_of_other_origins_are_let_in_only_where_listed() -> None:
    gate = Gate(access())
    client, page = _client(gate), {"origin": "https://page.example"}
    assert "access-control-allow-origin" not in client.get("/who", headers=page).headers
    gate.reconfigure(access(entry("a", "k"), cors_origins=["https://page.example"]))
    asked = {**page, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    assert client.options("/who", headers=asked).status_code == 200  # a browser sends no key with this one
    answer = client.get("/who", headers={**page, "authorization": "Bearer k"})
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    assert client.get("/who", headers={"origin": "https://evil.example"}).status_code == 401
    assert "access-control-allow-origin" not in client.get("/who", headers={"origin": "https://evil.example"}).headers


def test_a_prefix_of_the_application_is_no_part_of_the_path() -> None:
    app = _client(Gate(access(entry("a", "k")))).app
    client = TestClient(app, root_path="/prefix")
    assert client.get("/prefix/health").json() == "well"
    assert client.get("/prefix/who").status_code == 401
    assert client.get("/prefix/v1/who").json()["error"]["type"] == "authentication_error"
    assert client.get("/prefixhealth").status_code == 401
    assert client.get("/prefix/v1/fails", headers={"x-api-key": "k"}).json()["error"]["code"] == "malformed_request"
    assert client.get("/prefix/v1/nowhere", headers={"x-api-key": "k"}).json()["error"]["code"] == "not_found"


class _Dispatcher:
    def narrowed(self, *given: Any) -> Any:
        return given


@pytest.mark.parametrize(
    ("key", "timeout", "want"),
    [
        (None, None, (None, False, None, False)),
        (None, "2.5", (None, False, 2.5, False)),
        ({"models": ["a"]}, None, (("a",), False, None, False)),
        ({"priority": "low"}, "1", (None, True, 1.0, False)),
    ],
)
def test_what_a_key_narrows(key: dict[str, Any] | None, timeout: str | None, want: tuple[Any, ...]) -> None:
    headers = [] if timeout is None else [(b"x-request-timeout", timeout.encode())]
    state = {"key": key and KeyConfig.model_validate(entry("k", "k", **key))}
    asked: Any = _Dispatcher()
    assert seen_by(asked, Request({"type": "http", "headers": headers, "state": state})) == want


@pytest.mark.parametrize("timeout", ["", "soon", "0", "-1", "nan", "inf"])
def test_a_time_limit_that_is_none_is_refused(timeout: str) -> None:
    asked: Any = _Dispatcher()
    request = Request({"type": "http", "headers": [(b"x-request-timeout", timeout.encode())], "state": {}})
    with pytest.raises(MalformedRequestError, match="X-Request-Timeout"):
        seen_by(asked, request)
