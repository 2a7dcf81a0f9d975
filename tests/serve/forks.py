"""Worker processes of a test cluster, forked: most of what takes a worker six seconds to import is imported once.

``python -m tests.serve.forks SOCKET`` imports it, then forks for each one that asks, until its input ends.
``python tests/serve/forks.py SOCKET WORKER ARGUMENTS``, which Ray runs in place of Python, asks, and lives as long as
the worker that it got.

The servers and jobs that are processes of their own (tests of traces, of modes, of jobs) have workers as Ray starts
them.
"""

import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn

_LENGTH_BYTES = 8
_IMPORTED = (  # all that takes long but for Ray, which draws its ids and reads its settings once for a process
    "transformers.pipelines",
    "deployments.run",
    "deployments.warm_up",
    "pandas",
    "fastapi",
    "uvicorn",
    "httpx",
    "prometheus_client",
)


@contextmanager
def forks(root: str) -> Iterator[str]:
    """Serves forks of the project at ``root``; gives the command for Ray's ``py_executable``.

    Only on Linux: elsewhere a process that has loaded so much may not be forked, and Python itself is given.
    """
    if sys.platform != "linux":
        yield sys.executable
        return
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a process with threads cannot be forked
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/forks"
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        environment = {**os.environ, **alone, "PYTHONPATH": root}
        command = [sys.executable, "-m", "tests.serve.forks", address]
        with subprocess.Popen(command, cwd=root, env=environment, **pipes) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n", "what is forked cannot be imported"
            yield f"{sys.executable} -I -S {__file__} {address}"
            server.communicate()


def ask(address: str, argv: list[str]) -> None:
    """Have ``argv`` run, a Python file and its arguments, with this process's environment and output; wait for it."""
    message = json.dumps({"argv": argv, "cwd": os.getcwd(), "env": dict(os.environ)}).encode()
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(address)
        except OSError:  # nobody forks any more
            os.execv(sys.executable, [sys.executable, *argv])
        socket.send_fds(server, [len(message).to_bytes(_LENGTH_BYTES, "big")], [0, 1, 2])
        server.sendall(message)
        server.recv(1)  # nothing is sent: it ends when the worker does


def serve(address: str) -> None:
    """Fork for each one who asks, until this process's input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as ready:
        listener.bind(address)
        listener.listen(128)
        print("ready", flush=True)  # they are heard when all is imported
        for module in _IMPORTED:
            import_module(module)
        assert "ray" not in sys.modules, "its random numbers and settings would be those of every worker"
        gc.freeze()
        ready.register(listener, selectors.EVENT_READ)
        ready.register(0, selectors.EVENT_READ)
        while all(key.fileobj is listener for key, _ in ready.select()):
            client, _ = listener.accept()
            try:
                asked, files = _read(client)
            except (OSError, EOFError):  # it was ended while it asked
                client.close()
                continue
            if os.fork() == 0:
                listener.close()
                _become(asked, files, client)
            for file in (*files, client.detach()):
                os.close(file)


def _read(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    head, files, _, _ = socket.recv_fds(client, _LENGTH_BYTES, 3, socket.MSG_WAITALL)
    size, message = int.from_bytes(head, "big"), b""
    while len(message) < size and (more := client.recv(size - len(message))):
        message += more
    if len(message) < max(size, 1):
        raise EOFError
    return json.loads(message), files


def _become(asked: dict[str, Any], files: list[int], client: socket.socket) -> NoReturn:
    """The worker, in the new process."""
    import runpy

    import numpy as np

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    np.random.seed()  # as a process of its own has it
    threading.Thread(target=_end_with, args=(client,), daemon=True).start()
    sys.argv = asked["argv"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")
    sys.exit()


def _end_with(client: socket.socket) -> None:
    """Whoever stops the process that Ray started stops the worker."""
    client.recv(1)
    os._exit(1)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        ask(sys.argv[1], sys.argv[2:])
    else:
        serve(sys.argv[1])
