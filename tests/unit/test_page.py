"""The page of the document: every route, a command for each call, nothing from anywhere, nobody's words unescaped."""

import base64
import hashlib
import json
import re
import shlex
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from deployments.tasks import TASKS
from graph.config import GraphConfig
from graph.openapi import document
from graph.openapi.page import page
from graph.openapi.site import Site

GRAPH = GraphConfig.model_validate(
    {
        "models": [
            *({"name": f"my-{task}", "task": task} for task in TASKS),
            {
                "name": "second",
                "task": "zero-shot-classification",
                "model": "/models/<b>it's</b>",
                "parameters": {"candidate_labels": ["<script>"]},
            },
        ]
    }
)
DOCUMENT = document(GRAPH)
PAGE = page(DOCUMENT, "http://127.0.0.1:8000")


class Seen(HTMLParser):
    """Tags that are open, and every attribute; a tag that closes another's place is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def seen() -> Seen:
    parser = Seen()
    parser.feed(PAGE)
    assert parser.open == []
    return parser


def test_nothing_is_loaded_and_nothing_runs(seen: Seen) -> None:
    assert seen.tags & {"script", "img", "link", "iframe", "object", "embed", "form", "b"} == set()
    linked = {str(value) for _, name, value in seen.attributes if name in ("src", "href")}
    outward = {value for value in linked if not value.startswith("#")}
    assert outward == {"openapi.json"}
    assert not any(name.startswith("on") or name == "style" for _, name, _ in seen.attributes)
    assert "url(" not in PAGE
    assert "@import" not in PAGE


def test_every_route_stands_on_the_page(seen: Seen) -> None:
    anchors = {str(value) for _, name, value in seen.attributes if name == "id"}
    for path, item in DOCUMENT["paths"].items():
        assert f"<code>{path}</code>" in PAGE
        assert "post" not in item or path in anchors
    targets = {str(value)[1:] for _, name, value in seen.attributes if name == "href" and str(value).startswith("#")}
    assert targets <= anchors


def test_each_command_sends_the_example_of_its_route() -> None:
    commands = [unescape(found) for found in re.findall(r'<pre class="command"[^>]*><code>(.*?)</code>', PAGE, re.S)]
    calls = {path: item["post"] for path, item in DOCUMENT["paths"].items() if "post" in item}
    sent = {}
    for command in commands[:-1]:
        words = shlex.split(command)
        url = next(word for word in words if word.startswith("http"))
        sent[url.removeprefix("http://127.0.0.1:8000")] = words[-1]
    assert set(sent) == set(calls)
    for path, operation in calls.items():
        content = operation["requestBody"]["content"]
        if path.rpartition("/v1/")[2] in ("audio/transcriptions", "audio/translations"):
            assert sent[path].startswith("model=")
            assert set(content) == {"multipart/form-data"}
            continue
        example = content["application/json"].get("example")
        assert sent[path] == "@-" if example is None else json.loads(sent[path]) == example


def test_every_parameter_of_a_task_is_in_its_table() -> None:
    section = PAGE.partition('<section id="/models/my-fill-mask">')[2].partition("</section>")[0]
    rows = re.findall(r"<tr><td><code>(\w+)</code></td><td>(.*?)</td><td><code>(.*?)</code>", section)
    assert ("top_k", "integer ≥ 1 or null", "5") in rows
    assert {name for name, _, _ in rows} == TASKS["fill-mask"].parameters


@pytest.fixture(scope="module")
def client() -> TestClient:
    site = Site(GRAPH)
    return TestClient(Starlette(routes=[Route("/openapi.json", site.openapi), Route("/docs", site.docs)]))


def test_the_policy_allows_the_one_style_and_nothing_else(client: TestClient) -> None:

    answer = client.get("/docs")
    style = answer.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == f"'sha256-{digest}'"
    assert set(policy) == {"default-src", "style-src", "base-uri", "form-action", "frame-ancestors"}


@pytest.mark.parametrize(
    ("host", "instead"),
    [
        ("evil$(reboot)", "127.0.0.1:8000"),
        ("a;reboot", "127.0.0.1:8000"),
        ("a'b", "127.0.0.1:8000"),
        # these are none at all to starlette, which says the address at which the request arrived
        ("a b", "testserver"),
        ("a<b>", "testserver"),
    ],
)
def test_a_strange_host_is_not_repeated(client: TestClient, host: str, instead: str) -> None:
    text = client.get("/docs", headers={"host": host}).text
    assert f"//{host}" not in unescape(text)
    assert f"curl http://{instead}/models" in text


def test_addresses_are_those_under_which_the_caller_came(client: TestClient) -> None:
    assert "curl http://models.example:8080/models" in client.get("/docs", headers={"host": "models.example:8080"}).text


def test_the_document_is_served_with_its_prefix() -> None:
    site = Site(GRAPH)
    app = Starlette(routes=[Route("/openapi.json", site.openapi)])

    def under(prefix: str) -> Any:
        return TestClient(app, root_path=prefix).get(f"{prefix}/openapi.json").json()

    assert under("")["servers"] == [{"url": "/"}]
    assert under("/here")["servers"] == [{"url": "/here"}]
    assert {**under(""), "servers": None} == {**json.loads(json.dumps(DOCUMENT)), "servers": None}
