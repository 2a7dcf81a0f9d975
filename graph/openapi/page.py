"""The document as a page: HTML made here, without a script, a font or an image from anywhere.

A viewer that fits (Swagger UI, Redoc, RapiDoc) is megabytes of JavaScript, comes on PyPI only inside packages for other
frameworks, and knows nothing of what is wanted most here: a line for the shell that works with this very model.
"""

import base64
import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deployments.tasks.forms import Schema
from graph.accept import JSON

_HERE = Path(__file__).parent
_STYLE = (_HERE / "page.css").read_text()
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    # nothing is loaded, nothing runs, nothing is sent; the one style is known by its hash
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_FILES = {"audio/wav": "answer.wav", "audio/mpeg": "answer.mp3", "image/png": "answer.png"}


@dataclass(frozen=True)
class Row:
    """A parameter in a table."""

    name: str
    values: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Call:
    """A route that runs a model, as the page shows it."""

    path: str
    task: str
    text: str
    curl: str
    file: str
    answer: str
    parameters: list[Row]
    request: str
    statuses: list[tuple[str, str]]


def page(document: Schema, base: str) -> str:
    """HTML of ``document``; ``base`` is where the caller found the server, e.g. ``http://127.0.0.1:8000``."""
    paths = document["paths"]
    posts = [(path, item["post"]) for path, item in paths.items() if "post" in item]
    gets = [(path, item["get"]["summary"]) for path, item in paths.items() if "get" in item]
    return _ENVIRONMENT.get_template("page.html").render(
        title=document["info"]["title"],
        version=document["info"]["version"],
        base=base,
        style=_STYLE,
        calls=[_call(document, base, path, operation) for path, operation in posts],
        gets=gets,
        example_get=f"curl {shlex.quote(f'{base}/models')}",
    )


def _call(document: Schema, base: str, path: str, operation: Schema) -> Call:
    if "/v1/" in path:
        return _openai_call(document, base, path, operation)
    content = operation["responses"]["200"]["content"]
    schemas = document["components"]["schemas"]
    body = operation["requestBody"]["content"]["application/json"]
    request = schemas[_name(body["schema"].get("anyOf", [body["schema"]])[0])]
    parameters = schemas[_name(request["properties"]["parameters"])]
    return Call(
        path,
        operation["summary"],
        operation["description"],
        _curl(f"{base}{path}", body.get("example"), next(iter(content))),
        _file(operation["requestBody"]["content"]),
        _short(json.dumps(content["application/json"]["example"], ensure_ascii=False)),
        [_row(name, schema) for name, schema in parameters["properties"].items()],
        json.dumps(request["properties"]["inputs"], indent=1, ensure_ascii=False),
        [(status, _description(document, said)) for status, said in operation["responses"].items()],
    )


def _openai_call(document: Schema, base: str, path: str, operation: Schema) -> Call:
    """A call with fields of its own instead of inputs and parameters."""
    content, answers = operation["requestBody"]["content"], operation["responses"]["200"]["content"]
    (body,) = content.values()
    schema = body["schema"]
    named = schema["properties"]["model"]["examples"][0]
    form = f"curl {shlex.quote(f'{base}{path}')} -F file=@speech.ogg -F {shlex.quote(f'model={named}')}"
    answer = next(iter(answers))
    return Call(
        path,
        operation["summary"],
        operation["description"],
        _curl(f"{base}{path}", body["example"], answer) if JSON in content else form,
        "",
        _short(json.dumps(answers[answer]["example"], ensure_ascii=False)) if JSON in answers else f"a file: {answer}",
        [_row(name, field) for name, field in schema["properties"].items()],
        json.dumps(schema["properties"], indent=1, ensure_ascii=False),
        [(status, _description(document, said)) for status, said in operation["responses"].items()],
    )


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _description(document: Schema, response: Schema) -> str:
    found = document["components"]["responses"][_name(response)] if "$ref" in response else response
    return str(found["description"])


def _curl(url: str, example: Any, answer_type: str) -> str:
    """A command that answers as it stands; for a film, as soon as there is one."""
    out = f" -o {_FILES[answer_type]}" if answer_type in _FILES else ""
    if example is None:
        return f"""printf '{{"inputs": "%s"}}' "$(base64 -w0 film.mp4)" | curl {shlex.quote(url)} -d @-{out}"""
    return f"curl {shlex.quote(url)}{out} -d {shlex.quote(json.dumps(example, ensure_ascii=False))}"


def _file(content: Schema) -> str:
    """How to send a file as it is; empty where none is taken."""
    names = {"image/*": "photo.jpg", "audio/*": "speech.ogg", "video/*": "film.mp4"}
    return next((f"--data-binary @{name}" for kind, name in names.items() if kind in content), "")


def _short(text: str, most: int = 400) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _row(name: str, schema: Schema) -> Row:
    default = json.dumps(schema["default"], ensure_ascii=False) if "default" in schema else ""
    return Row(name, _values(schema), default, schema.get("description", ""))


def _values(schema: Schema) -> str:
    """The values of ``schema`` in a few words: ``integer ≥ 1 or null``."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_values(part) for part in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    kinds = schema.get("type", "anything")
    first, *others = kinds if isinstance(kinds, list) else [kinds]
    if first == "array":
        first = f"list of {_values(schema['items'])}" if schema.get("items") else "list"
    bounds = [
        f"{sign} {schema[key]:g}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if key in schema and abs(schema[key]) < 2**31 - 1
    ]
    return " or ".join([" ".join([first, *bounds]), *others])
