"""The bytes of a body, bounded in number and in time. Where a time decides, what it waits for never comes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, TaskCancelledError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from deployments.errors import PayloadTooLargeError, SlowBodyError
from graph.config import LimitsConfig
from graph.metrics import Measured
from graph.middleware import HANDLERS, Departure, RequestId
from graph.received import read_bytes

Receive = Callable[[], Awaitable[dict[str, Any]]]


def read(receive: Receive, **limits: Any) -> bytes:
    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    return asyncio.run(read_bytes(request, LimitsConfig(**limits)))


def pieces(*data: bytes, pause_s: float = 0.0) -> Receive:
    """These at once, ``pause_s`` after each, and then nothing more for ever."""
    left = list(data)

    async def receive() -> dict[str, Any]:
        if len(left) < len(data):
            await asyncio.sleep(pause_s)
        if not left:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left[0], "more_body": bool(left.pop(0))}

    return receive


def test_a_body_is_its_pieces() -> None:
    assert read(pieces(b"a", b"b", b"")) == b"ab"


def test_a_body_that_never_ends_is_given_up() -> None:
    with pytest.raises(SlowBodyError, match=r"Of the body, 2 bytes came in \d+ s"):
        read(pieces(b"ab"), body_timeout_s=0.05)


def test_a_body_that_never_begins_is_given_up() -> None:
    with pytest.raises(SlowBodyError, match="0 bytes"):
        read(pieces(), body_timeout_s=0.05)


def test_a_body_that_drips_is_given_up() -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b" ", "more_body": True}

    with pytest.raises(SlowBodyError):
        read(receive, body_timeout_s=0.05)


def test_a_long_body_has_longer() -> None:
    """The first megabyte is there at once, and is worth a minute."""
    body = bytes(2**20)
    assert read(pieces(body, body, b"", pause_s=0.05), body_timeout_s=0.02) == 2 * body


@pytest.mark.parametrize(
    "shown",
    [None, TaskCancelledError(), ActorDiedError()],
    ids=["alone", "in the proxy", "with the proxy"],
)
def test_a_caller_who_leaves_in_the_body_is_nobodys_failure(
    shown: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is answered, the status is ``left``, and the log has no error."""
    ended: list[tuple[Any, ...]] = []
    metrics = SimpleNamespace(began=lambda: None, ended=lambda *of: ended.append(of))
    messages = [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        if len(messages) == 1 and shown is not None:
            raise shown
        return messages.pop(0)

    async def send(message: Any) -> None:
        pytest.fail(f"nobody is there to hear {message}")

    async def infer(request: Request) -> Response:
        return Response(await read_bytes(request, LimitsConfig()))

    app = Starlette(
        routes=[Route("/", infer, methods=["POST"])],
        middleware=[
            Middleware(Departure),
            Middleware(RequestId),
            Middleware(Measured, door=SimpleNamespace(metrics=metrics)),
        ],
        exception_handlers=HANDLERS,
    )
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert [status for _, _, status, *_ in ended] == ["left"]
    assert caplog.records == []


def test_a_caller_who_leaves_in_a_stream_ends_it() -> None:
    """As Serve's proxy shows it while Starlette listens beside the answer."""
    closed: list[bool] = []
    left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await left.wait()
        raise TaskCancelledError

    async def send(message: Any) -> None:
        if message.get("body"):
            left.set()

    async def stream(_: Request) -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x"
                    await asyncio.sleep(0)
            finally:
                closed.append(True)

        return StreamingResponse(body())

    app = Starlette(routes=[Route("/", stream)], middleware=[Middleware(Departure)])
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert closed == [True]


def test_a_body_that_is_too_long_is_not_read_on() -> None:
    with pytest.raises(PayloadTooLargeError):
        read(pieces(bytes(2000)), max_body_bytes=1024)
