"""What the server's processes logged as errors: nobody's mistake but their own belongs there."""

import re
from collections import Counter
from pathlib import Path

import psutil

from tests.chaos.processes import of_server

_GCS = re.compile(r"--log_dir=(\S+)")
_VARYING = (
    (re.compile(r"^ERROR \S+ \S+ "), ""),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{20,}"), "…"),
    (re.compile(r"^(\w+) \w{8}\b"), r"\1"),  # a replica's own id
)


def folder() -> Path:
    """Where Serve's processes write, of the server that this process started."""
    for process in of_server():
        try:
            found = _GCS.search(" ".join(process.cmdline()))
        except psutil.Error:
            continue
        if found:
            return Path(found[1], "serve")
    raise AssertionError("there is no server")


def errors(logs: Path) -> list[str]:
    """Of the proxy, the router and the replicas, one sentence for each kind of error."""
    found: Counter[str] = Counter()
    for path in (*logs.glob("proxy_*.log"), *logs.glob("replica_*.log")):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("ERROR "):
                for pattern, replacement in _VARYING:
                    line = pattern.sub(replacement, line)
                found[line] += 1
    return [f"logged as an error, {count} times: {line}" for line, count in found.items()]
