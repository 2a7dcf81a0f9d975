"""Servers that misbehave, and names that lie: what a fetch gives up on, and what it never reaches."""

import asyncio
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpcore
import httpx
import pytest

from deployments.errors import InvalidInputError, OverloadedError, PayloadTooLargeError
from deployments.tasks.forms import RemoteMedia
from graph.config import FetchConfig
from graph.fetch import Fetcher, _redirected

PUBLIC, PUBLIC6, OTHER = "93.184.215.14", "2606:4700::1111", "198.41.0.4"
OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def serving(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on this machine whose every connection ``handle`` has, once the request's headers are in; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads = []

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the fetcher may hang up at any time
            connection.settimeout(20)
            asked = b""
            while b"\r\n\r\n" not in asked and (more := connection.recv(65536)):
                asked += more
            handle(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=one, args=(listener.accept()[0],)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (accepting, *threads):
            thread.join()


def fetch(*urls: str, **config: Any) -> Any:
    """What is fetched of one input that names ``urls``."""

    async def run() -> Any:
        fetcher = Fetcher(FetchConfig(**{"ports": (), "allow_private_addresses": True} | config))
        try:
            return await fetcher.fetch_all([RemoteMedia(url, "image", f"inputs[{at}]") for at, url in enumerate(urls)])
        finally:
            await fetcher.close()

    return asyncio.run(run())


def sends(*pieces: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: [connection.sendall(piece) for piece in pieces] and None


def forever(piece: bytes, first: bytes = b"") -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(piece)

    return handle


def bomb(encoding: str, wbits: int, size: int = 2**24) -> bytes:
    """A body of 16 MiB of nothing, packed a thousandfold."""
    pack = zlib.compressobj(9, wbits=wbits)
    body = pack.compress(bytes(size)) + pack.flush()
    return OK + f"content-encoding: {encoding}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
TOO_LARGE = {
    "endless": forever(b"x" * 65536, OK + b"\r\n"),
    "endless chunks": forever(b"10000\r\n" + b"x" * 65536 + b"\r\n", CHUNKED),
    "announced": sends(OK + b"content-length: 99999999999\r\n\r\n"),
    "gzip bomb": sends(bomb("gzip", 31)),
    "deflate bomb": sends(bomb("deflate", 15)),
    "gzip bomb under another name": sends(bomb("X-GZIP", 31)),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_body_over_the_limit_is_not_read_to_its_end(name: str) -> None:
    with serving(TOO_LARGE[name]) as port, pytest.raises(PayloadTooLargeError, match="100000 bytes"):
        fetch(f"http://127.0.0.1:{port}/", max_bytes=100_000)


def test_a_packed_body_is_unpacked_a_little_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte of nothing is a megabyte packed, and must not be a gigabyte in memory before it is counted."""
    largest = 0
    real = zlib.decompressobj

    class Noting:
        def __init__(self, wbits: int) -> None:
            self._inner = real(wbits=wbits)

        def decompress(self, data: bytes, most: int = 0) -> bytes:
            nonlocal largest
            out = self._inner.decompress(data, most)
            largest = max(largest, len(out))
            return out

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    monkeypatch.setattr(zlib, "decompressobj", Noting)
    with serving(sends(bomb("gzip", 31))) as port, pytest.raises(PayloadTooLargeError):
        fetch(f"http://127.0.0.1:{port}/", max_bytes=2**20)
    assert 0 < largest <= 2**16


BROKEN = {
    "closes at once": sends(),
    "closes in the headers": sends(OK + b"content-le"),
    "closes early": sends(OK + b"content-length: 1000\r\n\r\n" + b"x" * 999),
    "closes in a chunk": sends(CHUNKED + b"10\r\nxxx"),
    "closes between chunks": sends(CHUNKED + b"3\r\nxxx\r\n"),
    "no chunk size": sends(CHUNKED + b"zz\r\nxxx\r\n0\r\n\r\n"),
    "two lengths": sends(OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nxx"),
    "a negative length": sends(OK + b"content-length: -1\r\n\r\nxx"),
    "no HTTP": sends(b"220 mail.example ESMTP\r\n"),
    "TLS": sends(b"\x15\x03\x01\x00\x02\x02\x28"),
    "endless headers": forever(b"x-a: " + b"x" * 1000 + b"\r\n", OK),
    "endless first line": forever(b"x" * 65536, b"HTTP/1.1 200 "),
    "damaged gzip": sends(OK + b"content-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello"),
    "half of a gzip": sends(OK + b"content-encoding: gzip\r\n\r\n" + zlib.compress(b"x" * 999, wbits=31)[:-9]),
    "brotli": sends(OK + b"content-encoding: br\r\ncontent-length: 1\r\n\r\nx"),
    "gzip of gzip": sends(OK + b"content-encoding: gzip, gzip\r\ncontent-length: 1\r\n\r\nx"),
    "encoding of no text": sends(OK + b"content-encoding: \xff\r\ncontent-length: 1\r\n\r\nx"),
    "a redirect to nowhere": sends(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n"),
    "a redirect to no URL": sends(b"HTTP/1.1 302 Found\r\nlocation: http://a:b/\r\ncontent-length: 0\r\n\r\n"),
    "a redirect in no text": sends(b"HTTP/1.1 302 Found\r\nlocation: /\xff\xfe\r\ncontent-length: 0\r\n\r\n"),
    "a redirect with a password": sends(b"HTTP/1.1 302 Found\r\nlocation: http://u:p@127.0.0.1/\r\n\r\n"),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_is_none_cannot_be_fetched(name: str) -> None:
    with serving(BROKEN[name]) as port, pytest.raises(InvalidInputError, match="cannot be fetched") as caught:
        fetch(f"http://127.0.0.1:{port}/")
    assert caught.value.__cause__ is None


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", [b"x", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["a byte", "an interim answer"])
@pytest.mark.parametrize("where", ["body", "headers"])
def test_a_drip_is_given_up_after_the_time_for_all_of_it(piece: bytes, where: str) -> None:
    """Each wait for a byte is short; only a limit over all of them ends it."""
    done = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(OK + b"\r\n" if where == "body" else b"")
        while not done.wait(0.02):
            connection.sendall(piece)

    with serving(drip) as port:
        try:
            with pytest.raises(InvalidInputError):
                fetch(f"http://127.0.0.1:{port}/", timeout_s=0.5)
        finally:
            done.set()


def test_trailing_data_after_a_packed_body_is_left() -> None:
    body = zlib.compress(b"the file", wbits=31)
    with serving(forever(b"x" * 65536, OK + b"content-encoding: gzip\r\n\r\n" + body)) as port:
        assert fetch(f"http://127.0.0.1:{port}/", max_bytes=100)[0].data == b"the file"


# --- several files ---


def file_of(size: int) -> Callable[[socket.socket], None]:
    return sends(OK + f"content-length: {size}\r\nconnection: close\r\n\r\n".encode() + b"x" * size)


def test_the_files_of_one_input_have_a_limit_together() -> None:
    with serving(file_of(60)) as port:
        url = f"http://127.0.0.1:{port}/"
        assert len(fetch(url, url, max_total_bytes=120)) == 2
        with pytest.raises(PayloadTooLargeError, match="120 bytes together"):
            fetch(url, url, url, max_total_bytes=120)


def test_an_input_that_names_too_many_files_asks_nobody() -> None:
    """The guard of this folder fails the test if anybody is asked."""
    with pytest.raises(PayloadTooLargeError, match="names 4 files; at most 3"):
        fetch(*["http://public.example/"] * 4, max_files=3)


def test_of_an_input_that_fails_nothing_more_is_fetched() -> None:
    begun, gone = threading.Event(), threading.Event()

    def endless(connection: socket.socket) -> None:
        try:
            connection.sendall(OK + b"\r\n")
            begun.set()
            while connection.recv(1):
                pass
        finally:
            gone.set()

    def fails(connection: socket.socket) -> None:
        begun.wait(10)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

    with serving(endless) as first, serving(fails) as second:
        with pytest.raises(InvalidInputError) as caught:
            fetch(f"http://127.0.0.1:{first}/", f"http://127.0.0.1:{second}/", timeout_s=20)
        assert caught.value.field == "inputs[1]"
        assert gone.wait(10)


def test_so_many_are_fetched_at_a_time_and_so_many_wait() -> None:
    async def run() -> None:
        fetcher = Fetcher(FetchConfig(allow_private_addresses=True, ports=(), max_concurrent=2, max_waiting=1))
        asked, release = asyncio.Queue[None](), asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            asked.put_nowait(None)
            await release.wait()
            writer.write(OK + b"content-length: 1\r\nconnection: close\r\n\r\nx")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        first = [asyncio.ensure_future(fetcher.fetch_all(RemoteMedia(url, "image", str(at)))) for at in range(3)]
        for _ in range(2):
            await asked.get()
        with pytest.raises(OverloadedError):  # two are under way, one waits
            await fetcher.fetch_all(RemoteMedia(url, "image", "fourth"))
        assert asked.empty()
        release.set()
        assert [media.data for media in await asyncio.gather(*first)] == [b"x"] * 3
        await fetcher.fetch_all(RemoteMedia(url, "image", "fifth"))
        await fetcher.close()
        server.close()

    asyncio.run(run())


# --- names ---


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """``answers``: name → addresses; ``asked`` and ``dialled``. Public addresses lead to a server here."""
    with serving(file_of(3)) as port:
        state: dict[str, Any] = {"answers": {}, "asked": [], "dialled": [], "dead": set()}
        real_look_up, real_dial = socket.getaddrinfo, httpcore.AnyIOBackend.connect_tcp

        def look_up(host: Any, at: Any, *args: Any, **kwargs: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host
            if name not in state["answers"]:
                return real_look_up(host, at, *args, **kwargs)
            state["asked"].append(name)
            return [
                (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, at))
                for address in state["answers"][name]
            ]

        async def dial(self: Any, host: str, at: int, **options: Any) -> Any:
            state["dialled"].append((host, at))
            if host in state["dead"]:
                raise httpcore.ConnectError("refused")
            return await real_dial(self, "127.0.0.1", port, **options)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", dial)
        yield state


PUBLIC_ONLY = {"allow_private_addresses": False, "ports": (80, 443)}


def test_a_name_is_looked_up_once_and_its_address_dialled(names: Any) -> None:
    names["answers"]["a.example"] = [PUBLIC]
    assert fetch("http://a.example/", **PUBLIC_ONLY)[0].data == b"xxx"
    assert (names["asked"], names["dialled"]) == (["a.example"], [(PUBLIC, 80)])


def test_the_next_address_of_a_name_is_tried_and_not_all_of_many(names: Any) -> None:
    names["answers"]["a.example"] = [PUBLIC6, PUBLIC]
    names["dead"] = {PUBLIC6}
    assert fetch("http://a.example/", **PUBLIC_ONLY)[0].data == b"xxx"
    names["answers"]["a.example"] = names["dead"] = [f"93.184.215.{last}" for last in range(200)]
    names["dialled"].clear()
    with pytest.raises(InvalidInputError):
        fetch("http://a.example/", **PUBLIC_ONLY)
    assert len(names["dialled"]) == 3


INSIDE = ["fd00:ec2::254", "64:ff9b::a9fe:a9fe", "2001:0:7f00:1::", "::7f00:1", "168.63.129.16", "100.100.100.200"]


@pytest.mark.parametrize("address", INSIDE)
@pytest.mark.parametrize("beside", [[], [PUBLIC]])
def test_a_name_that_points_inside_is_never_dialled(names: Any, address: str, beside: list[str]) -> None:
    names["answers"]["a.example"] = [*beside, address]
    with pytest.raises(InvalidInputError):
        fetch("http://a.example/", **PUBLIC_ONLY)
    assert names["dialled"] == []


@pytest.mark.parametrize("url", ["http://a.example:22/", "http://a.example:8080/", "https://a.example:6443/"])
def test_a_port_that_is_not_listed_is_neither_dialled_nor_looked_up(names: Any, url: str) -> None:
    names["answers"]["a.example"] = [PUBLIC]
    with pytest.raises(InvalidInputError):
        fetch(url, **PUBLIC_ONLY)
    assert (names["asked"], names["dialled"]) == ([], [])
    if url.startswith("http://a.example:8080"):
        assert fetch(url, **PUBLIC_ONLY | {"ports": [8080]})[0].data == b"xxx"


LISTS: list[tuple[dict[str, Any], str, bool]] = [
    ({"deny": ["a.example"]}, "a.example", False),
    ({"deny": ["*.example"]}, "a.example", False),
    ({"deny": ["*.a.example"]}, "a.example", True),
    ({"deny": ["93.184.0.0/16"]}, "a.example", False),
    ({"deny": ["a.example"]}, "A.EXAMPLE.", False),
    ({"allow": ["a.example"]}, "a.example", True),
    ({"allow": ["a.example"]}, "b.example", False),
    ({"allow": ["*.example"]}, "b.example", True),
    ({"allow": ["*.example"]}, "inside.example", False),
    ({"allow": ["10.1.0.0/16"]}, "inside.example", True),
    ({"allow": ["10.1.0.0/16"]}, "a.example", False),
    ({"allow": ["10.1.0.0/16"]}, "10.1.2.3", True),
    ({"allow": ["10.1.0.0/16"]}, "10.2.0.1", False),
    ({"allow": ["10.1.0.0/16"], "deny": ["10.1.2.0/24"]}, "inside.example", False),
    ({"allow": ["a.example"], "deny": ["93.184.0.0/16"]}, "a.example", False),
    ({"allow": ["198.41.0.4"]}, "both.example", False),
    ({"deny": ["10.0.0.0/8"], "allow_private_addresses": True}, "inside.example", False),
]


@pytest.mark.parametrize(("config", "host", "reached"), LISTS)
def test_lists_say_what_is_reached(names: Any, config: dict[str, Any], host: str, reached: bool) -> None:
    here = {
        "a.example": [PUBLIC],
        "b.example": [OTHER],
        "inside.example": ["10.1.2.3"],
        "both.example": [PUBLIC, OTHER],
    }
    names["answers"] |= here | {"a.example.": [PUBLIC], "A.EXAMPLE.": [PUBLIC]}
    if reached:
        assert fetch(f"http://{host}/", **PUBLIC_ONLY | config)[0].data == b"xxx"
        return
    with pytest.raises(InvalidInputError, match="cannot be fetched"):
        fetch(f"http://{host}/", **PUBLIC_ONLY | config)
    assert names["dialled"] == []


@pytest.mark.parametrize("url", ["http://user@a.example/", "http://user:word@a.example/", "http://:word@a.example/"])
def test_a_url_with_a_password_is_not_fetched(names: Any, url: str) -> None:
    names["answers"]["a.example"] = [PUBLIC]
    with pytest.raises(InvalidInputError):
        fetch(url, **PUBLIC_ONLY)
    assert names["asked"] == []


@pytest.mark.parametrize("host", ["①②⑦.⓪.⓪.①", "ⓛocalhost", "127。0。0。1", "localhost.", "127.0.0.1."])
def test_letters_that_stand_for_others_reach_nothing(names: Any, host: str) -> None:
    names["answers"] |= {"localhost.": ["127.0.0.1"], "127.0.0.1.": ["127.0.0.1"]}
    with pytest.raises(InvalidInputError):
        fetch(f"http://{host}/", **PUBLIC_ONLY)
    assert names["dialled"] == []


# --- https ---


@pytest.mark.parametrize(
    ("start", "location", "end"),
    [
        ("https://a.example/x", "http://a.example/", None),
        ("https://a.example/x", "/y", "https://a.example/y"),
        ("https://a.example/x", "//b.example/", "https://b.example/"),
        ("http://a.example/x", "https://a.example/", "https://a.example/"),
        ("http://a.example/x", "http://b.example/", "http://b.example/"),
        ("http://a.example/x", "file:///etc/passwd", None),
        ("http://a.example/x", "http://u:p@b.example/", None),
        ("http://a.example/x", "http://b.example:0/", None),
        ("http://a.example/x", "", None),
    ],
)
def test_a_redirect_leads_to_http_or_https_and_never_out_of_https(start: str, location: str, end: str | None) -> None:
    if end is None:
        with pytest.raises((ValueError, httpx.InvalidURL)):
            _redirected(httpx.URL(start), location)
    else:
        assert str(_redirected(httpx.URL(start), location)) == end


@pytest.mark.timeout(30)
def test_a_certificate_of_nobody_is_not_taken(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor can the server's shell name an authority that would vouch for it."""
    certificate, key = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as secure:
            secure.sendall(OK + b"content-length: 1\r\n\r\nx")

    accepting = threading.Thread(target=accept)
    accepting.start()
    with listener, pytest.raises(InvalidInputError):
        fetch(f"https://127.0.0.1:{listener.getsockname()[1]}/")
    accepting.join()


def self_signed(folder: Any) -> tuple[Any, Any]:
    """A certificate for 127.0.0.1 that only itself vouches for."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "key").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return folder / "certificate", folder / "key"
