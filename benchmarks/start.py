"""``python -m benchmarks.start [RUNS]``: how long ``make serve`` takes to its first answer, and what takes it.

Run it on an idle machine: what is printed are medians of the runs, in seconds from the command, and the processor time
of each kind of process until every model is ready.
"""

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil
import yaml

from benchmarks.errors import BenchmarkError
from benchmarks.server import _free_port, _stop

_ROOT = Path(__file__).parents[1]
_START_S = 300
_LINES = {
    "command": "A first request then",
    "Ray": "Started a local Ray instance",
    "Serve": "Submitted deploy config",
    "ready": "Ready: ",
}
"""What is printed at each mark."""
_PROCESSES = {
    "models": "ServeReplica:pipelines",
    "router": "ServeReplica:pipelines:router",
    "Serve": "ray::ServeController ray::ProxyActor",
    "dashboard": "dashboard Dashboard forkserver",
}
"""Words in the command lines of each kind of process; the rest is Ray's."""


def main() -> int:
    """Measure and print."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell may have it ignore
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    marks, seconds = zip(*(_run() for _ in range(runs)), strict=True)
    for title, found in (("seconds from the command", marks), ("processor seconds", seconds)):
        print(title)  # noqa: T201
        for name in dict.fromkeys(name for one in found for name in one):
            print(f"  {name:<16}{statistics.median(one.get(name, 0.0) for one in found):8.1f}")  # noqa: T201
    return 0


def _run() -> tuple[dict[str, float], dict[str, float]]:
    """One start of the repository's configuration, on another port: its marks, and processor time by kind."""
    config, port = yaml.safe_load((_ROOT / "serve_config.yaml").read_text()), _free_port()
    config["http_options"]["port"] = port
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="pipeline-graph-bench-") as folder:
        path = Path(folder, "config.yaml")
        path.write_text(yaml.safe_dump(config))
        program = str(Path(sys.executable).with_name("pipeline-graph"))
        began = time.monotonic()
        process = subprocess.Popen(
            [program, "serve", str(path), "--address=local"],  # never a Ray cluster that happens to run here
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        marks: dict[str, float] = {}
        reader = threading.Thread(target=_read, args=(process, marks, began), daemon=True)
        reader.start()
        try:
            model = config["applications"][0]["args"]["models"][0]["name"]
            _until_ready(process, marks, began, url, model)
            return dict(sorted(marks.items(), key=lambda item: item[1])), _processor_time(process.pid)
        finally:
            _stop(process)
            reader.join(10)


def _read(process: "subprocess.Popen[bytes]", marks: dict[str, float], began: float) -> None:
    """Note when which line was printed, and which model is ready when."""
    assert process.stdout is not None
    for raw in process.stdout:
        line, now = raw.decode(errors="replace").strip(), time.monotonic() - began
        for name, words in _LINES.items():
            if words in line:
                marks.setdefault("all models" if name == "ready" else name, now)
        if line.endswith(" is ready"):
            marks.setdefault(line.partition("] ")[2].removesuffix(" is ready"), now)


def _until_ready(
    process: "subprocess.Popen[bytes]", marks: dict[str, float], began: float, url: str, model: str
) -> None:
    """Ask the router until it answers, then the first model once it is ready; until all are."""
    while "all models" not in marks or "first answer" not in marks:
        if time.monotonic() - began > _START_S or process.poll() is not None:
            raise BenchmarkError("the server did not start")
        with contextlib.suppress(httpx.HTTPError):
            if "Serve" in marks and "router" not in marks and httpx.get(f"{url}/health", timeout=5).status_code == 200:
                marks["router"] = time.monotonic() - began
            if model in marks and "first answer" not in marks:
                httpx.post(f"{url}/models/{model}", json={"inputs": "Hello."}, timeout=60).raise_for_status()
                marks["first answer"] = time.monotonic() - began
        time.sleep(0.1)


def _processor_time(pid: int) -> dict[str, float]:
    found: Counter[str] = Counter()
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            line, times = " ".join(process.cmdline()[:5]), process.cpu_times()
            kinds = [kind for kind, words in _PROCESSES.items() if any(word in line for word in words.split())]
            kind = "command" if process.pid == pid else kinds[-1] if kinds else "Ray"
            found[kind] += times.user + times.system
    return {**found, "all": sum(found.values())}


if __name__ == "__main__":
    sys.exit(main())
