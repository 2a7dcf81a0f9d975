"""Fetching what callers name by URL: within the limits, and never from where a caller must not reach."""

import asyncio
import gzip
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpcore
import pytest

from deployments.errors import InvalidInputError, PayloadTooLargeError
from deployments.payload import Media
from deployments.tasks.forms import RemoteMedia
from graph.config import FetchConfig
from graph.fetch import Fetcher

PUBLIC = "93.184.215.14"


class Site:
    """A web server on this machine: what it was asked for, and what it waits for."""

    def __init__(self) -> None:
        self.hits: list[str] = []
        self.cookies: list[str | None] = []
        self.silent = threading.Semaphore(0)
        self.release = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                site.hits.append(self.path)
                site.cookies.append(self.headers.get("cookie"))
                if self.path == "/silent":
                    site.silent.release()
                    site.release.wait(30)
                site.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        kind, _, rest = request.path.lstrip("/").partition("/")
        body, status, headers = b"x" * 10 * (kind == "stalls"), 200, {}
        if kind == "bytes":
            body = b"x" * int(rest)
        elif kind == "gzip":
            body, headers = gzip.compress(b"x" * int(rest)), {"content-encoding": "gzip"}
        elif kind == "status":
            status = int(rest)
        elif kind == "to":
            status, headers = 302, {"location": rest}
        elif kind == "hops":
            status, headers = 302, {"location": f"/hops/{int(rest) - 1}" if int(rest) > 1 else "/bytes/3"}
        elif kind == "cookie":
            body, headers = b"x", {"set-cookie": "who=the-first-caller; Path=/"}
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        if kind == "stalls":
            request.wfile.write(b"x")
            request.wfile.flush()
            self.release.wait(30)
            return
        request.wfile.write(body)

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    running = Site()
    yield running
    running.close()


def fetch(value: Any, **config: Any) -> Any:
    async def run() -> Any:
        fetcher = Fetcher(FetchConfig(**{"ports": ()} | config))
        try:
            return await fetcher.fetch_all(value)
        finally:
            await fetcher.close()

    return asyncio.run(run())


def image(url: str, field: str = "inputs") -> RemoteMedia:
    return RemoteMedia(url, "image", field)


# --- what works ---


def test_a_file_is_fetched_where_private_addresses_are_allowed(site: Site) -> None:
    found = fetch(RemoteMedia(f"{site.url}/bytes/3", "audio", "inputs[1]"), allow_private_addresses=True)
    assert found == Media(b"xxx", "audio", "inputs[1]")


def test_files_are_found_wherever_they_stand_and_all_else_stays(site: Site) -> None:
    value = [{"content": [{"image": image(f"{site.url}/bytes/{size}")} for size in (2, 1)]}, "text", 5, (1,), None]
    found = fetch(value, allow_private_addresses=True)
    assert found == [{"content": [{"image": Media(b"xx", "image")}, {"image": Media(b"x", "image")}]}, *value[1:]]


def test_what_names_no_url_asks_nobody() -> None:
    assert fetch({"a": ["text", Media(b"x", "image")]}) == {"a": ["text", Media(b"x", "image")]}


@pytest.mark.parametrize("hops", [1, 3])
def test_redirects_are_followed_up_to_the_limit(site: Site, hops: int) -> None:
    found = fetch(image(f"{site.url}/hops/{hops}"), allow_private_addresses=True, max_redirects=3)
    assert found.data == b"xxx"


def test_a_file_of_exactly_the_limit_is_taken(site: Site) -> None:
    assert len(fetch(image(f"{site.url}/bytes/100"), allow_private_addresses=True, max_bytes=100).data) == 100


# --- the limits ---


@pytest.mark.parametrize("path", ["bytes/101", "bytes/5000000", "gzip/1000000"])
def test_a_larger_file_is_too_large(site: Site, path: str) -> None:
    with pytest.raises(PayloadTooLargeError, match="100 bytes") as caught:
        fetch(image(f"{site.url}/{path}", "inputs[3]"), allow_private_addresses=True, max_bytes=100)
    assert caught.value.field == "inputs[3]"


@pytest.mark.parametrize("path", ["silent", "stalls"])
def test_a_server_that_is_too_slow_is_given_up(site: Site, path: str) -> None:
    with pytest.raises(InvalidInputError):
        fetch(image(f"{site.url}/{path}"), allow_private_addresses=True, timeout_s=0.2)
    assert site.hits in ([f"/{path}"], [])  # it is not asked again; where all is slow, not even once


@pytest.mark.parametrize("path", ["hops/4", "hops/1000"])
def test_too_many_redirects_are_refused(site: Site, path: str) -> None:
    with pytest.raises(InvalidInputError):
        fetch(image(f"{site.url}/{path}"), allow_private_addresses=True, max_redirects=3)
    assert len(site.hits) <= 4


@pytest.mark.parametrize("status", [304, 400, 401, 403, 404, 410, 429, 500, 503])
def test_an_error_page_is_no_file(site: Site, status: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        fetch(image(f"{site.url}/status/{status}", "inputs.image"), allow_private_addresses=True)
    assert caught.value.field == "inputs.image"


def test_no_url_is_fetched_where_fetching_is_off(site: Site) -> None:
    with pytest.raises(InvalidInputError, match="fetches no URLs"):
        fetch(image(f"{site.url}/bytes/1"), enabled=False, allow_private_addresses=True)
    assert site.hits == []


BROKEN = ["http://", "http://[", "http://[::1", "https://\x00", "http://127.0.0.1:99999/", "http://127.0.0.1:0/"]
BROKEN += [
    "http://127.0.0.1:x/",
    "http:// /",
    "http://a..b/",
    f"http://{'a' * 300}/",
    "http://xn--\u00df/",
    "http://\ud83d/",
]
BROKEN += ["http://127.0.0.1:-1/", "http://127.0.0.1/\ud83d", "http://" + "a" * 70_000]


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("url", BROKEN, ids=lambda url: ascii(url)[:40])
def test_a_broken_url_is_invalid_input(url: str, private: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def no_names(host: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(host, str):
            host.encode("idna")  # as Python's own does first
        if str(host).startswith("127."):
            return real(host, *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_names)
    with pytest.raises(InvalidInputError):
        fetch(image(url), allow_private_addresses=private, timeout_s=5)


# --- where callers must not reach ---

LOOPBACK = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.1", "localhost", "0.0.0.0", "0"]
LOOPBACK += ["[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "u:p@127.0.0.1"]
PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255"]
PRIVATE += ["[fe80::1]", "[fc00::1]", "[ff02::1]", "[2002:7f00:1::]", "[2002:a00:1::1]", "[::ffff:10.0.0.1]"]
PRIVATE += ["[::ffff:169.254.169.254]", "192.0.2.1", "[2001:db8::1]", "2852039166"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_is_not_reached_in_any_spelling(site: Site, host: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be fetched"):
        fetch(image(f"http://{host}:{site.port}/bytes/1"))
    assert site.hits == []


@pytest.mark.parametrize("host", PRIVATE)
def test_no_private_address_is_reached(host: str) -> None:
    """The guard of this folder fails the test if the address is so much as dialled."""
    with pytest.raises(InvalidInputError, match="cannot be fetched"):
        fetch(image(f"http://{host}/x"), timeout_s=5)


@pytest.fixture
def internet(site: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """``names`` → addresses, one list for each look-up; what is dialled; the public address leads to ``site``."""
    state: dict[str, Any] = {"names": {"public.example": [[PUBLIC]]}, "dialled": []}
    real_look_up, real_dial = socket.getaddrinfo, httpcore.AnyIOBackend.connect_tcp

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in state["names"]:
            return real_look_up(host, port, *args, **kwargs)
        answers = state["names"][name]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    async def dial(self: Any, host: str, port: int, **options: Any) -> Any:
        state["dialled"].append(host)
        return await real_dial(self, "127.0.0.1" if host == PUBLIC else host, site.port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", dial)
    return state


def test_a_public_address_is_reached(internet: dict[str, Any]) -> None:
    assert fetch(image("http://public.example/bytes/3")).data == b"xxx"
    assert internet["dialled"] == [PUBLIC]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "169.254.169.254"])
def test_a_redirect_to_a_private_address_is_refused(site: Site, internet: dict[str, Any], host: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be fetched"):
        fetch(image(f"http://public.example/to/http://{host}:{site.port}/bytes/1"))
    assert len(site.hits) == 1
    assert internet["dialled"] == [PUBLIC]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://public.example/x", "data:,x", "gopher://127.0.0.1/"])
def test_a_redirect_to_another_scheme_is_refused(internet: dict[str, Any], target: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be fetched"):
        fetch(image(f"http://public.example/to/{target}"))


@pytest.mark.parametrize("addresses", [["127.0.0.1"], [PUBLIC, "127.0.0.1"], ["10.0.0.1", PUBLIC]])
def test_a_name_with_a_private_address_is_refused(internet: dict[str, Any], addresses: list[str]) -> None:
    internet["names"]["rebind.example"] = [addresses]
    with pytest.raises(InvalidInputError, match="cannot be fetched"):
        fetch(image("http://rebind.example/bytes/1"))
    assert internet["dialled"] == []


def test_a_name_cannot_change_between_check_and_use(internet: dict[str, Any]) -> None:
    internet["names"]["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
    assert fetch(image("http://rebind.example/bytes/3")).data == b"xxx"
    assert internet["dialled"] == [PUBLIC]


def test_a_proxy_of_the_servers_shell_is_not_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://192.0.2.1:3128")
    assert fetch(image(f"{site.url}/bytes/1"), allow_private_addresses=True).data == b"x"


def test_refusals_tell_nothing_of_the_network(site: Site) -> None:
    """A closed port, a private address and an error page read alike, so that nobody scans through the server."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        closed = f"http://127.0.0.1:{gone.getsockname()[1]}/"
    sentences = set()
    for url, private in ((f"{site.url}/status/404", True), (closed, True), (closed, False), (site.url, False)):
        with pytest.raises(InvalidInputError) as caught:
            fetch(image(url), allow_private_addresses=private)
        sentences.add(str(caught.value))
        assert caught.value.__cause__ is None
    assert len(sentences) == 1


def test_no_cookie_of_one_caller_goes_along_with_the_next(site: Site) -> None:
    async def twice() -> None:
        fetcher = Fetcher(FetchConfig(allow_private_addresses=True, ports=()))
        await fetcher.fetch_all(image(f"{site.url}/cookie"))
        await fetcher.fetch_all(image(f"{site.url}/bytes/1"))
        await fetcher.close()

    asyncio.run(twice())
    assert site.cookies == [None, None]


def test_who_is_fetching_when_it_is_closed_gets_the_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new configuration closes the old one, whatever is under way; the connections go when that has ended."""

    async def scene() -> None:
        fetcher = Fetcher(FetchConfig(allow_private_addresses=True, ports=()))
        closed: list[int] = []
        close = fetcher._pool.aclose

        async def spied() -> None:
            closed.append(fetcher._users)
            await close()

        monkeypatch.setattr(fetcher._pool, "aclose", spied)
        under_way = [asyncio.create_task(fetcher.fetch_all(image(f"{site.url}/silent"))) for _ in range(2)]
        for _ in under_way:
            assert await asyncio.to_thread(site.silent.acquire, timeout=20)
        await fetcher.close()
        assert closed == []
        under_way.pop().cancel()
        site.release.set()
        assert isinstance(await under_way[0], Media)
        assert closed == [0]

    asyncio.run(scene())
