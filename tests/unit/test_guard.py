"""The guard of this folder works: without it, none of the other tests would prove that nothing is reached."""

import os
import socket
from collections.abc import Callable, Iterator

import pytest
import ray

from tests.unit.conftest import GuardError

PUBLIC = ("192.0.2.1", 9)  # TEST-NET-1: routed nowhere, should the guard not hold


@pytest.fixture(scope="module", autouse=True)
def _shell() -> Iterator[None]:
    """A developer's shell, as it is before each test's guard."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_secret")
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("PIPELINE_GRAPH_URL", "http://example.org")
        yield


def test_ray_cannot_be_started() -> None:
    with pytest.raises(GuardError):
        ray.init()


@pytest.mark.parametrize(
    "reach",
    [
        lambda sock: sock.connect(PUBLIC),
        lambda sock: sock.connect_ex(PUBLIC),
        lambda sock: sock.connect(("example.org", 80)),
    ],
    ids=["connect", "connect_ex", "name"],
)
def test_no_connection_leaves_this_machine(reach: Callable[[socket.socket], object]) -> None:
    with socket.socket() as sock:
        sock.settimeout(1)
        with pytest.raises(GuardError):
            reach(sock)


def test_no_connection_over_ipv6_leaves_this_machine() -> None:
    with socket.socket(socket.AF_INET6) as sock:
        sock.settimeout(1)
        with pytest.raises(GuardError):
            sock.connect(("2001:db8::1", 9))


def test_no_datagram_leaves_this_machine() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(GuardError):
        sock.sendto(b"x", PUBLIC)


def test_high_level_connections_are_guarded_too() -> None:
    with pytest.raises(GuardError):
        socket.create_connection(PUBLIC, timeout=1)


def test_no_name_server_is_asked() -> None:
    with pytest.raises(GuardError):
        socket.getaddrinfo("example.org", 80)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
def test_this_machine_can_be_named(host: str) -> None:
    assert ("127.0.0.1", 80) in [entry[4] for entry in socket.getaddrinfo(host, 80)]


def test_this_machine_can_be_reached() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        accepted, address = server.accept()
        with accepted:
            assert address == client.getsockname()


def test_no_setting_comes_from_the_shell() -> None:
    assert [name for name in os.environ if name.startswith(("HF_", "PIPELINE_GRAPH_"))] == []
