"""What the processes of a server hold: memory, file descriptors, threads, and how many there are of each kind."""

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

_REPLICA = "ray::ServeReplica:pipelines:"
_KINDS = {
    "ray::ProxyActor": "proxy",
    "ray::HAProxyManager": "proxy's manager",
    "ray::ServeController": "controller",
}
_LOOK_S = 1.0
MORE_BYTES, MORE_FDS, MORE_THREADS = 48 * 2**20, 12, 6
"""What a process may hold beyond what it held before: caches and pools that fill up once, whatever the time."""


@dataclass(frozen=True)
class Held:
    """What the processes of one kind hold.

    Args:
        count: of them.
        pid: of the oldest; the rest speaks of it.
        memory_bytes: that no other process shares.
        fds: open file descriptors.
        threads: of the operating system.
        cpu: share of a core, over the last second.
    """

    count: int
    pid: int
    memory_bytes: int
    fds: int
    threads: int
    cpu: float


def of_server() -> list[psutil.Process]:
    """Every process of the server that this process started (`benchmarks.server.project`), and of no other cluster."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "--address=local" in child.cmdline():
                return list(child.children(recursive=True))
    return []


def kind_of(process: psutil.Process) -> str | None:
    """``router``, the name of a model, ``proxy`` …; None for what is Ray's own."""
    try:
        title = process.cmdline()[:1] or [""]
    except psutil.Error:
        return None
    if title[0].startswith(_REPLICA):
        return title[0].removeprefix(_REPLICA).partition(".")[0].strip()
    if title[0].endswith("/haproxy"):
        return "haproxy"
    return next((kind for start, kind in _KINDS.items() if title[0].startswith(start)), None)


def by_kind() -> dict[str, list[psutil.Process]]:
    """The processes of the server by `kind_of`, oldest first."""
    found: dict[str, list[psutil.Process]] = {}
    for process in of_server():
        kind = kind_of(process)
        if kind is not None:
            found.setdefault(kind, []).append(process)
    return {kind: sorted(processes, key=lambda one: one.create_time()) for kind, processes in found.items()}


def held() -> dict[str, Held]:
    """What every kind of process holds; takes a second."""
    processes = by_kind()
    for first, *_ in processes.values():
        with contextlib.suppress(psutil.Error):
            first.cpu_percent()
    time.sleep(_LOOK_S)  # what is measured is the time in between
    found = {}
    for kind, (first, *others) in processes.items():
        with contextlib.suppress(psutil.Error), first.oneshot():
            memory = first.memory_full_info().uss
            cpu = first.cpu_percent() / 100
            found[kind] = Held(1 + len(others), first.pid, memory, first.num_fds(), first.num_threads(), cpu)
    return found


def settled(patience_s: float) -> dict[str, Held]:
    """What is held once descriptors and threads have stayed the same for three looks and nobody works."""
    deadline, looks = time.monotonic() + patience_s, [held()]
    while not (len(looks) >= 3 and _same(looks[-3:])) and time.monotonic() < deadline:
        looks.append(held())
    return looks[-1]


def _same(looks: Iterable[dict[str, Held]]) -> bool:
    counted = [{kind: (one.count, one.pid, one.fds, one.threads) for kind, one in look.items()} for look in looks]
    return all(one == counted[0] for one in counted) and all(one.cpu < 0.5 for look in looks for one in look.values())


def back_to(before: dict[str, Held], patience_s: float) -> tuple[dict[str, Held], list[str]]:
    """Wait until nothing is held beyond what it was before; what is held then, and what never came back."""
    deadline = time.monotonic() + patience_s
    while True:
        now = held()
        leaks = list(_leaks(before, now))
        if not leaks or time.monotonic() > deadline:
            return now, leaks


def _leaks(before: dict[str, Held], now: dict[str, Held]) -> Iterable[str]:
    for kind, was in before.items():
        one = now.get(kind)
        if one is None or one.count != was.count:
            yield f"{kind}: {was.count} processes before, {one.count if one else 0} now"
            continue
        if one.pid != was.pid:
            yield f"{kind}: process {was.pid} is gone, which nobody killed"
        if one.memory_bytes > was.memory_bytes + MORE_BYTES:
            yield f"{kind}: {_mib(was.memory_bytes)} MiB before, {_mib(one.memory_bytes)} MiB now"
        if one.fds > was.fds + MORE_FDS:
            yield f"{kind}: {was.fds} file descriptors before, {one.fds} now"
        if one.threads > was.threads + MORE_THREADS:
            yield f"{kind}: {was.threads} threads before, {one.threads} now"
        if one.cpu > 0.5:
            yield f"{kind}: still takes {one.cpu:.0%} of a core"


def rows(before: dict[str, Held], now: dict[str, Held]) -> list[list[str]]:
    """Of each kind of process: what was held, and what is."""
    gone = Held(0, 0, 0, 0, 0, 0.0)
    return [
        [
            kind,
            *(
                f"{one} → {other}"
                for one, other in zip(_figures(before.get(kind, gone)), _figures(now.get(kind, gone)), strict=True)
            ),
        ]
        for kind in sorted(before.keys() | now.keys())
    ]


def _figures(one: Held) -> tuple[str, str, str, str]:
    return str(one.count), _mib(one.memory_bytes), str(one.fds), str(one.threads)


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f}"
