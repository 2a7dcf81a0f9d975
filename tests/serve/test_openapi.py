"""The document and its page on the real server: true of what it answers, and whole without the internet."""

import re
import shlex
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.serve.cluster import deploy
from tests.serve.served import case_of, served

pytestmark = [pytest.mark.ray, pytest.mark.pipelines, pytest.mark.timeout(300)]

_FILES = Path(__file__).parents[1] / "embedded/data"
_SERVED = (
    "text-classification-bert",
    "image-classification-vit",
    "asr-wav2vec2",
    "zero-shot-classification-bert",
    "feature-extraction-bert",
)


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    """Models of several kinds of input."""
    deploy(url, {"models": [served(case_of(name), checkpoints) for name in _SERVED]})
    return url


@pytest.fixture(scope="module")
def document(server: str) -> dict[str, Any]:
    answer = httpx.get(f"{server}/openapi.json", timeout=30)
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


def test_the_served_document_is_valid(document: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    assert document["servers"] == [{"url": "/"}]


def test_what_the_server_says_of_itself_is_as_described(server: str, document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        if "get" not in item or path in ("/docs", "/resolve"):
            continue
        answer = httpx.get(f"{server}{path.replace('{model}', _SERVED[0])}", timeout=30)
        said = item["get"]["responses"][str(answer.status_code)]
        schema = {**said["content"]["application/json"]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json())


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/models/text-classification-bert", b"{", 400),
        ("/tasks/text-classification?model=nobody", b'{"inputs": "a"}', 404),
        ("/models/text-classification-bert", b'{"inputs": 5}', 422),
        ("/models/text-classification-bert", b'{"inputs": "a", "parameters": {"top_k": "many"}}', 422),
        ("/models/image-classification-vit", b'{"inputs": "aGVsbG8="}', 422),
    ],
)
def test_errors_are_as_described(server: str, document: dict[str, Any], path: str, body: bytes, status: int) -> None:
    answer = httpx.post(f"{server}{path}", content=body, headers={"content-type": "application/json"}, timeout=30)
    assert answer.status_code == status, answer.text
    described = document["components"]["responses"][f"Error{status}"]
    jsonschema.validate(answer.json(), described["content"]["application/json"]["schema"])
    assert set(described["headers"]) <= set(answer.headers)


def test_a_list_with_a_failure_is_as_described(server: str, document: dict[str, Any]) -> None:
    call = document["paths"]["/models/image-classification-vit"]["post"]
    good = call["requestBody"]["content"]["application/json"]["example"]["inputs"]
    answer = httpx.post(f"{server}/models/image-classification-vit", json={"inputs": [good, "aGVsbG8="]}, timeout=30)
    said = call["responses"]["200"]
    schema = {**said["content"]["application/json"]["schema"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer.json())
    assert answer.headers["x-failed-items"] == "1"
    assert set(said["headers"]) <= set(answer.headers)


@pytest.fixture(scope="module")
def page(server: str) -> httpx.Response:
    return httpx.get(f"{server}/docs", timeout=30)


def test_the_page_loads_nothing(page: httpx.Response) -> None:
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy

    class Loads(HTMLParser):
        found: list[Any]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [(tag, name, value) for name, value in attrs if name in ("src", "href", "style", "onload")]
            if tag in ("script", "img", "link", "iframe", "object", "embed", "form"):
                self.found.append((tag, "", ""))

    parser = Loads()
    parser.found = []
    parser.feed(page.text)
    assert {value for _, name, value in parser.found if not (value or "").startswith("#")} == {"openapi.json"}


def _commands(page: httpx.Response) -> list[str]:
    return [unescape(found) for found in re.findall(r'<pre class="command"[^>]*><code>(.*?)</code>', page.text, re.S)]


def test_the_commands_of_the_page_work_as_they_stand(page: httpx.Response, document: dict[str, Any]) -> None:
    commands = _commands(page)
    calls = [path for path, item in document["paths"].items() if "post" in item]
    assert [shlex.split(command)[1].partition("/m")[2] for command in commands if "/models/" in command] == [
        path.removeprefix("/m") for path in calls if path.startswith("/models/")
    ]
    assert len(commands) == len(calls) + 1
    for command in commands:
        assert command.startswith("curl ")
        curl = ["curl", "-sS", "--fail-with-body", *shlex.split(command)[1:]]
        run = subprocess.run(curl, capture_output=True, cwd=_FILES)  # where there is a speech.ogg
        # the document knows a model's task, not how many labels a classifier has nor whether a recogniser translates
        refused = run.returncode and any(f"/v1/{route} " in command for route in ("rerank", "audio/translations"))
        assert run.returncode == 0 or (refused and b'"type":"invalid_request_error"' in run.stdout), (command, run)


def test_a_strange_host_is_not_repeated(server: str) -> None:
    page = httpx.get(f"{server}/docs", headers={"host": "a$(reboot)"}, timeout=30)
    assert page.status_code != 200 or "reboot" not in page.text
