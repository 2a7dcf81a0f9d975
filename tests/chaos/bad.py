"""Requests that are wrong, each with the statuses that tell its sender so."""

import asyncio
import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from tests.bombs import BOMBS, saved
from tests.chaos.ledger import Ledger, may_be_retried, outcome
from tests.chaos.served import MAX_BODY_BYTES, MAX_LIST_ITEMS
from tests.tiny.samples import picture

_BOMBS = (
    "png claims",
    "png of black",
    "png inside an icon",
    "line of pixels",
    "jpeg claims",
    "gif claims",
    "tiff claims",
)
_JSON, _PNG = {"content-type": "application/json"}, {"content-type": "image/png"}
_FORM = {"content-type": "multipart/form-data; boundary=edge"}


@dataclass(frozen=True)
class Bad:
    """A request that cannot be answered.

    Args:
        kind: its row in the table.
        case: what is wrong with it.
        path: where it goes.
        statuses: what it may get.
        content: the body.
        headers: beside those of every request.
        method: of HTTP.
    """

    kind: str
    case: str
    path: str
    statuses: tuple[int, ...]
    content: bytes = b""
    headers: dict[str, str] | None = None
    method: str = "POST"


def bads() -> list[Bad]:
    """All of them."""
    return [*_broken_json(), *_wrong_calls(), *_broken_forms(), *_broken_images(), *_oversized()]


def _json(case: str, path: str, status: int, body: Any) -> Bad:
    return Bad("malformed: JSON", case, path, (status,), json.dumps(body).encode(), _JSON)


def _broken_json() -> list[Bad]:
    texts = [b"{", b'{"inputs": "x"', b"[1]", b'{"inputs": NaN}', b'{"inputs": "\xff"}', b"[" * 5000, b"\0" * 100]
    return [
        *(Bad("malformed: JSON", repr(text[:20]), "/models/classify", (400,), text, _JSON) for text in texts),
        _json("no input", "/models/classify", 422, {}),
        _json("a number", "/models/classify", 422, {"inputs": 5}),
        _json("one of a list is a number", "/models/classify", 422, {"inputs": ["x", 5]}),
        _json("parameters are a list", "/models/classify", 422, {"inputs": "x", "parameters": []}),
        _json("unknown parameter", "/models/classify", 422, {"inputs": "x", "parameters": {"topk": 1}}),
        _json("wrong value", "/models/write", 422, {"inputs": "x", "parameters": {"max_new_tokens": "many"}}),
        _json("stream of labels", "/models/classify", 422, {"inputs": "x", "stream": True}),
        _json("OpenAI: unknown field", "/v1/completions", 422, {"model": "write", "prompt": "x", "promt": "y"}),
        _json("too long for the model", "/models/classify", 422, {"inputs": "word " * 2000}),
    ]


def _wrong_calls() -> list[Bad]:
    kind, body = "malformed: call", b'{"inputs": "x"}'
    return [
        Bad(kind, "unknown model", "/models/nobody", (404,), body, _JSON),
        Bad(kind, "unknown task", "/tasks/nothing", (404,), body, _JSON),
        Bad(kind, "unknown path", "/nowhere", (404,), body, _JSON),
        Bad(kind, "wrong method", "/models/echo", (405,), b"", None, "DELETE"),
        Bad(kind, "wrong kind", "/models/classify", (415,), saved(picture(1), "PNG"), _PNG),
        Bad(kind, "compressed", "/models/classify", (415,), body, {**_JSON, "content-encoding": "gzip"}),
        Bad(kind, "no such answer", "/models/classify", (406,), body, {**_JSON, "accept": "image/png"}),
    ]


def _broken_forms() -> list[Bad]:
    part = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    bodies = {
        "nothing": b"",
        "no form": b"hello",
        "breaks off": part + saved(picture(1), "PNG"),
        "another boundary": part.replace(b"edge", b"side") + b"x\r\n--side--\r\n",
        "no name": b"--edge\r\nContent-Disposition: form-data\r\n\r\nx\r\n--edge--\r\n",
        "a file that is none": part + b"hello\r\n--edge--\r\n",
    }
    cases = [Bad("malformed: form", case, "/models/photo", (400, 422), body, _FORM) for case, body in bodies.items()]
    return [
        *cases,
        Bad(
            "malformed: form",
            "no boundary",
            "/models/photo",
            (400,),
            part,
            {"content-type": _FORM["content-type"].partition(";")[0]},
        ),
    ]


def _broken_images() -> list[Bad]:
    png, jpeg = saved(picture(1), "PNG"), saved(picture(1), "JPEG")
    files = {"cut": png[:200], "cut jpeg": jpeg[: len(jpeg) // 2], "damaged": png[:60] + b"\xff" * 40 + png[100:]}
    files["a head alone"] = png[:8]
    garbage = base64.b64encode(b"no picture").decode()
    return [
        *(Bad("malformed: image", case, "/models/photo", (422,), data, _PNG) for case, data in files.items()),
        Bad("malformed: image", "base64", "/models/photo", (422,), json.dumps({"inputs": garbage}).encode(), _JSON),
    ]


def _oversized() -> list[Bad]:
    long, many = b"x" * (2 * MAX_BODY_BYTES), json.dumps({"inputs": ["x"] * (MAX_LIST_ITEMS + 1)}).encode()
    nested = b'{"inputs": ' + b"[" * 400_000
    bombs = [BOMBS[name][1]() for name in _BOMBS]
    return [
        Bad("oversized: body", "JSON", "/models/echo", (413,), b'{"inputs": "' + long + b'"}', _JSON),
        Bad("oversized: body", "a file", "/models/photo", (413,), long, _PNG),
        Bad("oversized: list", "items", "/models/classify", (413,), many, _JSON),
        Bad("oversized: list", "levels", "/models/echo", (400, 413), nested, _JSON),
        *(
            Bad("oversized: pixels", name, "/models/photo", (413, 422), data, _PNG)
            for name, data in zip(_BOMBS, bombs, strict=True)
        ),
    ]


async def bad_client(
    client: httpx.AsyncClient, ledger: Ledger, known: list[Bad], chance: random.Random, over: Callable[[], bool]
) -> None:
    """One after the other, until it is over."""
    while not over():
        await refuse(client, ledger, chance.choice(known))
        await asyncio.sleep(chance.expovariate(1 / 0.2))


async def refuse(client: httpx.AsyncClient, ledger: Ledger, bad: Bad) -> None:
    """Send one, and see that it is refused as it should be."""
    ledger.begin(bad.kind)
    try:
        answer = await client.request(bad.method, bad.path, content=bad.content, headers=bad.headers)
    except httpx.HTTPError as error:
        ledger.end(bad.kind, type(error).__name__, f"{bad.case}: {error!r}")
        return
    ended = outcome(answer.status_code, answer.headers.get("retry-after"))
    right = answer.status_code in bad.statuses or may_be_retried(ended)
    told = answer.text[:300]
    ledger.end(bad.kind, ended, "" if right else f"{bad.case} got {ended} instead of {bad.statuses}: {told}")
