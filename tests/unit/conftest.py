"""The unit tier: no Ray, no network beyond this machine, nothing from the caller's environment."""

import ipaddress
import os
import socket
from typing import Any

import pytest
import ray

_look_up = socket.getaddrinfo
_THIS_MACHINE = ("127.0.0.1", "::1", "0.0.0.0", "::")


class GuardError(RuntimeError):
    """A unit test went for Ray or the network. No ``OSError``, so that no code under test swallows it."""


def _is_here(host: Any) -> bool:
    try:
        return str(ipaddress.ip_address(host)) in _THIS_MACHINE
    except ValueError:
        return host in ("localhost", "", None)


def _needs_name_server(host: Any) -> bool:
    """Whether looking ``host`` up would ask anybody; numbers, whatever their notation, are read here."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in ("localhost", "", None) or ":" in name:
        return False
    try:
        _look_up(name, None, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        return True
    return False


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise GuardError("a unit test must not start Ray")

    monkeypatch.setattr(ray, "init", refuse)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections and datagrams only to this machine and over unix sockets; no name server is asked."""

    def guarded(method: Any, address_index: int) -> Any:
        def call(self: socket.socket, *args: Any) -> Any:
            host = args[address_index][0] if self.family in (socket.AF_INET, socket.AF_INET6) else None
            if not _is_here(host):
                self.close()  # whoever made it may clean up only after an OSError
                raise GuardError(f"a unit test reached for {host}")
            return method(self, *args)

        return call

    for name, address_index in (("connect", 0), ("connect_ex", 0), ("sendto", -1)):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name), address_index))
    look_up = socket.getaddrinfo

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if _needs_name_server(host):
            raise GuardError(f"a unit test looked up {host}")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)


@pytest.fixture(autouse=True)
def _no_settings_from_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("HF_", "PIPELINE_GRAPH_")):
            monkeypatch.delenv(name)
